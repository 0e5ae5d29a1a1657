/* As much of NVIDIA's management library as is asked: NVML_COUNT GPUs (1), as NVML_DRIVER and NVML_CAPABILITY describe
   them. A device is its index and 1; the first GPU is GPU-a0, the second GPU-b1; a part of the last is MIG-1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory;

int nvmlInit_v2(void) { return getenv("NVML_DRIVER") ? 0 : 9; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "Driver Not Loaded"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { return snprintf(text, length, "%s", getenv("NVML_DRIVER")) < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = getenv("NVML_COUNT") ? atoi(getenv("NVML_COUNT")) : 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)(index + 1UL); return getenv("NVML_LOST") ? 15 : 0; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
    unsigned index = (unsigned long)device - 1;
    return snprintf(text, length, "GPU-%c%u", 'a' + index, index) < 0;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = (void *)100; return strcmp(uuid, "MIG-1") ? 6 : 0; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *part, void **device) {
    unsigned count;
    nvmlDeviceGetCount_v2(&count);
    *device = (void *)(unsigned long)count;
    return part != (void *)100;
}
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
    return device == (void *)100 ? 3 : snprintf(text, length, device == (void *)1 ? "Tesla T4" : "Tesla T4 %lu", (unsigned long)device - 1) < 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    (void)device;
    return sscanf(getenv("NVML_CAPABILITY"), "%d.%d", major, minor) != 2;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *info) { (void)device; memset(info, 0, sizeof *info); info->total = 16ULL << 30; return 0; }
