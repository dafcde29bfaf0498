// What one photograph, or one window of one, is to become: an entry of the table that a launch for many of them reads.
#pragma once
#include "prelude.cuh"

struct ResizeJob {
  const byte* source;  // u8, three interleaved channels
  long long stride;    // bytes from row to row
  int height, width;   // of the source
  int top, left;       // where the picture lies in the output
  int out_height, out_width;
  int filter;
  int step_y, step_x;  // Lanczos: the blocks whose means are filtered
  int blocks_at;       // Lanczos: where this job's block means begin, and its rows after the first pass
  int rows_at;
  int unused;
};

// The largest value of a block's threads into *at. All threads of all warps must call it.
__device__ __forceinline__ void peak_into(int* at, int value) {
  for (int by = 16; by > 0; by >>= 1) value = max(value, __shfl_xor_sync(ALL_LANES, value, by));
  if (((threadIdx.y * blockDim.x + threadIdx.x) & 31) == 0) atomicMax(at, value);
}
