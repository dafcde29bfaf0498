// Where an output pixel lies in the input, along one axis, and how much each input pixel counts. Pixels have centres at
// half: output o covers input [o * in / out, (o + 1) * in / out).
//
// Places are found in whole numbers: floats have too few digits at 8,000 px. Their product 2 * in * out must be below
// 2^31, which the launch code checks.
#pragma once
#include "prelude.cuh"

enum Filter { LINEAR = 0, AREA = 1, AREA_ENLARGE = 2, CUBIC = 3 };

// Up to 4 taps that begin at `first` (which may lie outside; the caller clamps), or for AREA a run of any length.
struct Taps {
  int first, count;
  float weight[4];  // AREA: of the first, of those between, of the last
};

__device__ __forceinline__ float cubic_weight(float x) {  // Keys 1981, with OpenCV's a = -0.75
  const float a = -0.75f;
  x = fabsf(x);
  if (x <= 1.f) return ((a + 2.f) * x - (a + 3.f)) * x * x + 1.f;
  if (x < 2.f) return ((a * x - 5.f * a) * x + 8.f * a) * x - 4.f * a;
  return 0.f;
}

__device__ __forceinline__ Taps taps_at(int filter, int o, int in, int out) {
  Taps taps;
  if (filter == AREA) {
    const int begin = o * in / out, begin_rest = o * in % out;
    const int end = (o + 1) * in / out, end_rest = (o + 1) * in % out;
    const float share = (float)out / (float)in;  // what a whole input pixel counts
    taps.first = begin;
    taps.count = end - begin + (end_rest > 0);
    taps.weight[1] = share;
    taps.weight[0] = taps.count == 1 ? 1.f : share * (1.f - (float)begin_rest / (float)out);
    taps.weight[2] = end_rest > 0 ? share * (float)end_rest / (float)out : share;
    return taps;
  }
  if (filter == AREA_ENLARGE) {  // OpenCV's: flat inside an input pixel, a ramp where an output pixel straddles two
    const int at = o * in / out;
    const int over = (o + 1) * in - (at + 1) * out;  // in units of 1 / out of an input pixel beyond the border
    const float w = over > 0 ? (float)over / (float)in : 0.f;
    taps.first = at;
    taps.count = 2;
    taps.weight[0] = 1.f - w;
    taps.weight[1] = w;
    return taps;
  }
  const int doubled = (2 * o + 1) * in - out;  // the centre, in units of 1 / (2 * out)
  const int at = doubled >= 0 ? doubled / (2 * out) : -1;
  const float t = (float)(doubled - at * 2 * out) / (float)(2 * out);
  if (filter == LINEAR) {
    taps.first = at;
    taps.count = 2;
    taps.weight[0] = 1.f - t;
    taps.weight[1] = t;
    return taps;
  }
  taps.first = at - 1;
  taps.count = 4;
#pragma unroll
  for (int k = 0; k < 4; ++k) taps.weight[k] = cubic_weight(t + 1.f - (float)k);
  return taps;
}

__device__ __forceinline__ float tap_weight(const Taps& taps, int filter, int k) {
  // Chosen, not indexed: an index that is not known at compile time would put the weights into local memory.
  if (filter == AREA) return k == 0 ? taps.weight[0] : k == taps.count - 1 ? taps.weight[2] : taps.weight[1];
  return k == 0 ? taps.weight[0] : k == 1 ? taps.weight[1] : k == 2 ? taps.weight[2] : taps.weight[3];
}

// A plane of floats enlarged by linear taps: between the columns x0 and x1 of the rows that begin at y0 and y1.
__device__ __forceinline__ float enlarged(const float* plane, long long y0, long long y1, int x0, int x1,
                                          const Taps& down, const Taps& across) {
  const float above = plane[y0 + x0] * across.weight[0] + plane[y0 + x1] * across.weight[1];
  const float below = plane[y1 + x0] * across.weight[0] + plane[y1 + x1] * across.weight[1];
  return above * down.weight[0] + below * down.weight[1];
}

// A mean of bytes as OpenCV rounds it: halves up where exactly 2 x 2 pixels become one, to even elsewhere.
__device__ __forceinline__ byte mean_byte(float x, bool two_by_two) {
  return two_by_two ? (byte)fminf(fmaxf(floorf(x + 0.5f), 0.f), 255.f) : to_byte(x);
}

// One value of an image of interleaved channels, by any of the filters; the edge is repeated beyond the frame.
template <class T>
__device__ __forceinline__ float sample(const T* base, long long stride, int height, int width, int channels, int channel,
                                        int filter, const Taps& down, const Taps& across) {
  float total = 0.f;
  for (int j = 0; j < down.count; ++j) {
    const T* row = row_of(base, stride, clamped(down.first + j, 0, height - 1));
    float line = 0.f;
    for (int i = 0; i < across.count; ++i)
      line += tap_weight(across, filter, i) * (float)row[clamped(across.first + i, 0, width - 1) * channels + channel];
    total += tap_weight(down, filter, j) * line;
  }
  return total;
}

// Red, green and blue of an interleaved image at once, by any of the filters.
__device__ __forceinline__ float3 sample_rgb(const byte* base, long long stride, int height, int width, int filter,
                                             const Taps& down, const Taps& across) {
  float3 total = make_float3(0.f, 0.f, 0.f);
  for (int j = 0; j < down.count; ++j) {
    const byte* row = row_of(base, stride, clamped(down.first + j, 0, height - 1));
    float r = 0.f, g = 0.f, b = 0.f;
    for (int i = 0; i < across.count; ++i) {
      const byte* pixel = row + clamped(across.first + i, 0, width - 1) * 3;
      const float weight = tap_weight(across, filter, i);
      r += weight * (float)pixel[0];
      g += weight * (float)pixel[1];
      b += weight * (float)pixel[2];
    }
    const float weight = tap_weight(down, filter, j);
    total.x += weight * r;
    total.y += weight * g;
    total.z += weight * b;
  }
  return total;
}
