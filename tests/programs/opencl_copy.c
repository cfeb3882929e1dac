// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Writes a buffer, copies it on twice and reads it back through OpenCL, and compares.
 *
 * The buffer in the middle is host memory: copies between two buffers in the GPU's own memory are kernels in AMD's
 * runtime, and the emulated GPU executes none.
 */

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "common.h"

#define CHECK(call)                                                           \
	do {                                                                  \
		cl_int error = (call);                                        \
		if (error != CL_SUCCESS)                                      \
			FAIL("%s: %d", #call, error);                         \
	} while (0)

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 4096, 100000, 524288 };
	const unsigned int count = sizeof(sizes) / sizeof(*sizes);
	cl_platform_id platform;
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_int error;
	char name[256] = "";
	size_t total = 0;

	CHECK(clGetPlatformIDs(1, &platform, NULL));
	CHECK(clGetDeviceIDs(platform, CL_DEVICE_TYPE_GPU, 1, &device, NULL));
	CHECK(clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof(name), name, NULL));
	printf("DEVICE %s\n", name);
	context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
	CHECK(error);
	queue = clCreateCommandQueue(context, device, 0, &error);
	CHECK(error);
	for (unsigned int round = 0; round < count; round++) {
		size_t size = sizes[round];
		uint8_t *out = malloc(size), *back = calloc(1, size);
		cl_mem first = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &error);
		cl_mem middle, second;

		CHECK(error);
		middle = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, size, NULL, &error);
		CHECK(error);
		second = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &error);
		CHECK(error);
		if (!out || !back)
			FAIL("no memory");
		fill(out, size, round);
		CHECK(clEnqueueWriteBuffer(queue, first, CL_FALSE, 0, size, out, 0, NULL, NULL));
		CHECK(clEnqueueCopyBuffer(queue, first, middle, 0, 0, size, 0, NULL, NULL));
		CHECK(clEnqueueCopyBuffer(queue, middle, second, 0, 0, size, 0, NULL, NULL));
		CHECK(clEnqueueReadBuffer(queue, second, CL_TRUE, 0, size, back, 0, NULL, NULL));
		CHECK(clFinish(queue));
		compare(back, size, round, "write, copy, copy, read");
		total += size;
		if (round + 1 == count)
			hold(argc, argv);
		CHECK(clReleaseMemObject(first));
		CHECK(clReleaseMemObject(middle));
		CHECK(clReleaseMemObject(second));
		free(out);
		free(back);
	}
	CHECK(clReleaseCommandQueue(queue));
	CHECK(clReleaseContext(context));
	printf("PASS opencl: %zu bytes in %u sizes\n", total, count);
	return 0;
}
