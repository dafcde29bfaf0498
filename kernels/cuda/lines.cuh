// Colour lines at a small size, enlarged to one pixel of the photograph and applied to its colour.
#pragma once
#include "prelude.cuh"
#include "resample.cuh"

// lines: float (5, height, width): slopes of red, green and blue in 0..1, offset, weight of the prior. down, across:
// linear. Not clipped.
__device__ __forceinline__ float line_at(const float* lines, int height, int width, const Taps& down, const Taps& across,
                                         const byte* pixel, float prior) {
  const int x0 = clamped(across.first, 0, width - 1), x1 = clamped(across.first + 1, 0, width - 1);
  const long long y0 = (long long)clamped(down.first, 0, height - 1) * width;
  const long long y1 = (long long)clamped(down.first + 1, 0, height - 1) * width;
  const long long plane = (long long)height * width;
  float total = 0.f;
#pragma unroll 1
  for (int k = 0; k < 5; ++k) {
    const float* line = lines + k * plane;
    const float value = enlarged(line, y0, y1, x0, x1, down, across);
    total += value * (k < 3 ? (float)pixel[k] * (1.f / 255.f) : k == 3 ? 1.f : prior);
  }
  return total;
}
