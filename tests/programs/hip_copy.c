// SPDX-License-Identifier: MIT OR Apache-2.0
/* Copies host to device to host through HIP, plainly and on several streams at once, and compares. */

#include <hip/hip_runtime_api.h>

#include "common.h"

#define CHECK(call)                                                           \
	do {                                                                  \
		hipError_t error = (call);                                    \
		if (error != hipSuccess)                                      \
			FAIL("%s: %s", #call, hipGetErrorString(error));      \
	} while (0)

#define STREAMS 3
#define ROUNDS 4
#define PLAIN (300000)
#define EACH (512 * 1024)

/* hipMemcpy from and to ordinary memory. */
static size_t plain(int argc, char **argv)
{
	uint8_t *out = malloc(PLAIN), *back = calloc(1, PLAIN);
	void *device;

	if (!out || !back)
		FAIL("no memory");
	fill(out, PLAIN, 0);
	CHECK(hipMalloc(&device, PLAIN));
	printf("BUFFER vram %p %d\n", device, PLAIN);
	CHECK(hipMemcpy(device, out, PLAIN, hipMemcpyHostToDevice));
	CHECK(hipMemcpy(back, device, PLAIN, hipMemcpyDeviceToHost));
	compare(back, PLAIN, 0, "hipMemcpy");
	hold(argc, argv);
	CHECK(hipFree(device));
	free(out);
	free(back);
	return PLAIN;
}

/* hipMemcpyAsync on streams that overlap, from and to pinned memory. */
static size_t streams(void)
{
	hipStream_t stream[STREAMS];
	void *out[STREAMS], *back[STREAMS], *device[STREAMS];

	for (unsigned int s = 0; s < STREAMS; s++) {
		CHECK(hipStreamCreate(&stream[s]));
		CHECK(hipHostMalloc(&out[s], EACH, 0));
		CHECK(hipHostMalloc(&back[s], EACH, 0));
		CHECK(hipMalloc(&device[s], EACH));
	}
	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int s = 0; s < STREAMS; s++) {
			fill(out[s], EACH, 1 + round * STREAMS + s);
			memset(back[s], 0, EACH);
			CHECK(hipMemcpyAsync(device[s], out[s], EACH, hipMemcpyHostToDevice, stream[s]));
			CHECK(hipMemcpyAsync(back[s], device[s], EACH, hipMemcpyDeviceToHost, stream[s]));
		}
		for (unsigned int s = 0; s < STREAMS; s++) {
			CHECK(hipStreamSynchronize(stream[s]));
			compare(back[s], EACH, 1 + round * STREAMS + s, "hipMemcpyAsync");
		}
	}
	for (unsigned int s = 0; s < STREAMS; s++) {
		CHECK(hipFree(device[s]));
		CHECK(hipHostFree(back[s]));
		CHECK(hipHostFree(out[s]));
		CHECK(hipStreamDestroy(stream[s]));
	}
	return (size_t)ROUNDS * STREAMS * EACH;
}

int main(int argc, char **argv)
{
	hipDeviceProp_t properties;
	size_t total;
	int devices;

	CHECK(hipGetDeviceCount(&devices));
	if (devices < 1)
		FAIL("no device");
	CHECK(hipGetDeviceProperties(&properties, 0));
	printf("DEVICE %s\n", properties.gcnArchName);
	total = plain(argc, argv);
	total += streams();
	printf("PASS hip: %zu bytes, %d streams\n", total, STREAMS);
	return 0;
}
