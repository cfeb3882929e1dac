// SPDX-License-Identifier: MIT OR Apache-2.0
/* Copies host to device, within the device, and device to host through the HSA runtime, and compares. */

#include <hsa/hsa.h>
#include <hsa/hsa_ext_amd.h>

#include "common.h"

#define CHECK(call)                                                           \
	do {                                                                  \
		hsa_status_t status = (call);                                 \
		if (status != HSA_STATUS_SUCCESS)                             \
			FAIL("%s: %#x", #call, status);                       \
	} while (0)

/* Long enough for an emulated GPU on a busy machine, in ticks of the runtime's clock. */
#define SECONDS 120

struct found {
	hsa_agent_t agent;
	hsa_amd_memory_pool_t pool;
	bool there;
	/* What is looked for. */
	hsa_device_type_t type;
};

static hsa_status_t take_pool(hsa_amd_memory_pool_t pool, void *data)
{
	struct found *found = data;
	hsa_amd_segment_t segment;
	uint32_t flags;
	bool can;

	CHECK(hsa_amd_memory_pool_get_info(pool, HSA_AMD_MEMORY_POOL_INFO_SEGMENT, &segment));
	if (segment != HSA_AMD_SEGMENT_GLOBAL)
		return HSA_STATUS_SUCCESS;
	CHECK(hsa_amd_memory_pool_get_info(pool, HSA_AMD_MEMORY_POOL_INFO_GLOBAL_FLAGS, &flags));
	CHECK(hsa_amd_memory_pool_get_info(pool, HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_ALLOWED, &can));
	if (!can || !(flags & HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_COARSE_GRAINED))
		return HSA_STATUS_SUCCESS;
	found->pool = pool;
	found->there = true;
	return HSA_STATUS_INFO_BREAK;
}

static hsa_status_t take_agent(hsa_agent_t agent, void *data)
{
	struct found *found = data;
	hsa_device_type_t type;
	hsa_status_t status;

	CHECK(hsa_agent_get_info(agent, HSA_AGENT_INFO_DEVICE, &type));
	if (type != found->type)
		return HSA_STATUS_SUCCESS;
	found->agent = agent;
	status = hsa_amd_agent_iterate_memory_pools(agent, take_pool, found);
	return status == HSA_STATUS_INFO_BREAK ? status : HSA_STATUS_SUCCESS;
}

static struct found find(hsa_device_type_t type)
{
	struct found found = { .type = type };
	hsa_status_t status = hsa_iterate_agents(take_agent, &found);

	if (status != HSA_STATUS_INFO_BREAK || !found.there)
		FAIL("no agent of type %d with coarse-grained memory (%#x)", type, status);
	return found;
}

static void *allocate(hsa_amd_memory_pool_t pool, size_t size, hsa_agent_t user)
{
	void *memory;

	CHECK(hsa_amd_memory_pool_allocate(pool, size, 0, &memory));
	CHECK(hsa_amd_agents_allow_access(1, &user, NULL, memory));
	return memory;
}

static void copy(void *to, hsa_agent_t to_agent, const void *from, hsa_agent_t from_agent, size_t size)
{
	hsa_signal_t done;
	uint64_t frequency;

	CHECK(hsa_system_get_info(HSA_SYSTEM_INFO_TIMESTAMP_FREQUENCY, &frequency));
	CHECK(hsa_signal_create(1, 0, NULL, &done));
	CHECK(hsa_amd_memory_async_copy(to, to_agent, from, from_agent, size, 0, NULL, done));
	if (hsa_signal_wait_scacquire(done, HSA_SIGNAL_CONDITION_LT, 1, SECONDS * frequency,
				      HSA_WAIT_STATE_BLOCKED) != 0)
		FAIL("a copy of %zu bytes did not end", size);
	CHECK(hsa_signal_destroy(done));
}

int main(int argc, char **argv)
{
	/* Below the size from which copies within one GPU are done by a shader. */
	static const size_t sizes[] = { 4096, 65536, 262144 + 20, 1048576 - 4096 };
	const unsigned int count = sizeof(sizes) / sizeof(*sizes);
	struct found cpu, gpu;
	char name[64] = "";
	size_t total = 0;

	CHECK(hsa_init());
	cpu = find(HSA_DEVICE_TYPE_CPU);
	gpu = find(HSA_DEVICE_TYPE_GPU);
	CHECK(hsa_agent_get_info(gpu.agent, HSA_AGENT_INFO_NAME, name));
	printf("DEVICE %s\n", name);
	for (unsigned int round = 0; round < count; round++) {
		size_t size = sizes[round];
		void *out = allocate(cpu.pool, size, gpu.agent);
		void *back = allocate(cpu.pool, size, gpu.agent);
		void *first = allocate(gpu.pool, size, gpu.agent);
		void *second = allocate(gpu.pool, size, gpu.agent);

		printf("BUFFER vram %p %zu\nBUFFER vram %p %zu\nBUFFER system %p %zu\n", first, size, second,
		       size, out, size);
		fill(out, size, round);
		memset(back, 0, size);
		copy(first, gpu.agent, out, cpu.agent, size);
		copy(second, gpu.agent, first, gpu.agent, size);
		copy(back, cpu.agent, second, gpu.agent, size);
		compare(back, size, round, "host to device to device to host");
		total += size;
		if (round + 1 == count)
			hold(argc, argv);
		CHECK(hsa_amd_memory_pool_free(out));
		CHECK(hsa_amd_memory_pool_free(back));
		CHECK(hsa_amd_memory_pool_free(first));
		CHECK(hsa_amd_memory_pool_free(second));
	}
	CHECK(hsa_shut_down());
	printf("PASS hsa: %zu bytes in %u sizes\n", total, count);
	return 0;
}
