// For each of some windows of a mask, the box around the true pixels in it.
#include "prelude.cuh"

struct BoxJob {
  int x0, y0, x1, y1;              // the window
  int left, top, right, bottom;    // found: begin at the largest and the smallest number there is
};

// mask: byte (height, width), true where it is not 0. Blocks along x are windows; those along y share out their rows.
KERNEL(256) true_boxes(const byte* mask, BoxJob* jobs, int width) {
  BoxJob* job = jobs + blockIdx.x;
  const int none = 0x7fffffff;
  int left = none, top = none, right = -1, bottom = -1;
  for (int y = job->y0 + blockIdx.y * blockDim.y + threadIdx.y; y < job->y1; y += gridDim.y * blockDim.y)
    for (int x = job->x0 + threadIdx.x; x < job->x1; x += 32)
      if (mask[(long long)y * width + x]) {
        left = min(left, x);
        right = max(right, x);
        top = min(top, y);
        bottom = max(bottom, y);
      }
  for (int by = 16; by > 0; by >>= 1) {
    left = min(left, __shfl_xor_sync(ALL_LANES, left, by));
    top = min(top, __shfl_xor_sync(ALL_LANES, top, by));
    right = max(right, __shfl_xor_sync(ALL_LANES, right, by));
    bottom = max(bottom, __shfl_xor_sync(ALL_LANES, bottom, by));
  }
  if (threadIdx.x != 0 || right < 0) return;
  atomicMin(&job->left, left);
  atomicMin(&job->top, top);
  atomicMax(&job->right, right);
  atomicMax(&job->bottom, bottom);
}
