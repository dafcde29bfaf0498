// What every kernel file begins with. The same file compiles with nvcc, with NVRTC (hence no standard headers) and,
// with ON_CPU defined, with g++.
#pragma once

#ifdef ON_CPU
#include "on_cpu.h"
#else

// Shared memory whose size the launch says.
#define DYNAMIC_SHARED(type, name)                          \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  type* name = reinterpret_cast<type*>(name##_raw)

// IEEE 754 half, rounded to nearest even, as its 16 bits. PTX, so that no header of the toolkit is needed.
__device__ __forceinline__ unsigned short half_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

#endif

// A kernel and the most threads that a block of it has; the launch code reads both, and the parameters, from here. After
// the threads may stand how many blocks a multiprocessor shall hold at least: of 1, the registers are all one block's.
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
#define ALL_LANES 0xffffffffu

typedef unsigned char byte;
typedef unsigned short half_t;  // the bits of a half

// A row of an array whose rows are `stride` bytes apart.
template <class T>
__device__ __forceinline__ T* row_of(T* base, long long stride, int y) {
  return reinterpret_cast<T*>(reinterpret_cast<char*>(base) + stride * y);
}
template <class T>
__device__ __forceinline__ const T* row_of(const T* base, long long stride, int y) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(base) + stride * y);
}

__device__ __forceinline__ int clamped(int x, int low, int high) { return min(max(x, low), high); }

// A place beyond the frame, as OpenCV's BORDER_REFLECT_101 has it: ... 2 1 | 0 1 2 ... n-1 | n-2 ...
__device__ __forceinline__ int mirrored(int x, int n) {
  if (n == 1) return 0;
  while (x < 0 || x >= n) x = x < 0 ? -x : 2 * n - 2 - x;
  return x;
}

// To the nearest whole number of 0..255, halves to even, as OpenCV rounds.
__device__ __forceinline__ byte to_byte(float x) { return (byte)fminf(fmaxf(rintf(x), 0.f), 255.f); }
