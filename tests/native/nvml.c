/* As much of NVIDIA's management library as `doctor` asks: one GPU, as NVML_DRIVER and NVML_CAPABILITY describe it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory;

int nvmlInit_v2(void) { return getenv("NVML_DRIVER") ? 0 : 9; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 15 ? "GPU is lost" : "Driver Not Loaded"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { return snprintf(text, length, "%s", getenv("NVML_DRIVER")) < 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { (void)index; *device = 0; return getenv("NVML_LOST") ? 15 : 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned length) { (void)device; return snprintf(text, length, "Tesla T4") < 0; }
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    (void)device;
    return sscanf(getenv("NVML_CAPABILITY"), "%d.%d", major, minor) != 2;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *info) { (void)device; memset(info, 0, sizeof *info); info->total = 16ULL << 30; return 0; }
