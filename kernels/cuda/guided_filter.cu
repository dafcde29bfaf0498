// The fast guided filter around the box filter: the guide and the target made small, the linear coefficients of every
// window, and the result at full size.
// He, Sun, Tang: Guided Image Filtering, TPAMI 2013; He, Sun: Fast Guided Filter, arXiv 1505.00996, 2015.
#include "prelude.cuh"
#include "resample.cuh"

__device__ __forceinline__ float as_stored(const byte*, float x, bool two_by_two) {
  return (float)mean_byte(x, two_by_two) / 255.f;
}
__device__ __forceinline__ float as_stored(const float*, float x, bool) { return x; }
__device__ __forceinline__ float unit(byte x) { return (float)x / 255.f; }
__device__ __forceinline__ float unit(float x) { return x; }

// planes: float (channels + 1, height, width): the guide around 0, so that variances keep their digits, and the target.
template <class T>
__device__ __forceinline__ void reduce(const T* guide, long long guide_stride, const float* target,
                                       long long target_stride, float* planes, int full_height, int full_width,
                                       int height, int width, int channels) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const Taps down = taps_at(AREA, y, full_height, height), across = taps_at(AREA, x, full_width, width);
  const long long plane = (long long)height * width, at = (long long)y * width + x;
  const bool two_by_two = full_height == 2 * height && full_width == 2 * width;
  for (int channel = 0; channel < channels; ++channel) {
    const float value = sample(guide, guide_stride, full_height, full_width, channels, channel, AREA, down, across);
    planes[channel * plane + at] = as_stored(guide, value, two_by_two) - 0.5f;
  }
  planes[channels * plane + at] = sample(target, target_stride, full_height, full_width, 1, 0, AREA, down, across);
}

KERNEL(256) guided_reduce_bytes(const byte* guide, long long guide_stride, const float* target,
                                long long target_stride, float* planes, int full_height, int full_width, int height,
                                int width, int channels) {
  reduce(guide, guide_stride, target, target_stride, planes, full_height, full_width, height, width, channels);
}
KERNEL(256) guided_reduce_floats(const float* guide, long long guide_stride, const float* target,
                                 long long target_stride, float* planes, int full_height, int full_width, int height,
                                 int width, int channels) {
  reduce(guide, guide_stride, target, target_stride, planes, full_height, full_width, height, width, channels);
}

// means: as box_filter.cu orders them. out: float (2, plane): slope, offset.
KERNEL(256) guided_solve_grey(const float* means, float* out, int plane, float eps) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= plane) return;
  const long long n = plane;
  const float guide = means[at], target = means[n + at];
  const float variance = fmaxf(means[3 * n + at] - guide * guide, 0.f);
  const float slope = (means[2 * n + at] - guide * target) / (variance + eps);
  out[at] = slope;
  out[n + at] = target - slope * guide;
}

// out: float (4, plane): three slopes, offset. (Sigma + eps U)^-1 cov through the adjugate of the symmetric matrix.
KERNEL(256) guided_solve_colour(const float* means, float* out, int plane, float eps) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= plane) return;
  const long long n = plane;
  const float r = means[at], g = means[n + at], b = means[2 * n + at], p = means[3 * n + at];
  const float c_r = means[4 * n + at] - r * p, c_g = means[5 * n + at] - g * p, c_b = means[6 * n + at] - b * p;
  const float rr = fmaxf(means[7 * n + at] - r * r, 0.f) + eps;
  const float gg = fmaxf(means[8 * n + at] - g * g, 0.f) + eps;
  const float bb = fmaxf(means[9 * n + at] - b * b, 0.f) + eps;
  const float rg = means[10 * n + at] - r * g, rb = means[11 * n + at] - r * b, gb = means[12 * n + at] - g * b;
  const float i_rr = gg * bb - gb * gb, i_rg = gb * rb - rg * bb, i_rb = rg * gb - gg * rb;
  const float i_gg = rr * bb - rb * rb, i_gb = rb * rg - rr * gb, i_bb = rr * gg - rg * rg;
  const float scale = 1.f / (i_rr * rr + i_rg * rg + i_rb * rb);
  const float a_r = (i_rr * c_r + i_rg * c_g + i_rb * c_b) * scale;
  const float a_g = (i_rg * c_r + i_gg * c_g + i_gb * c_b) * scale;
  const float a_b = (i_rb * c_r + i_gb * c_g + i_bb * c_b) * scale;
  out[at] = a_r;
  out[n + at] = a_g;
  out[2 * n + at] = a_b;
  out[3 * n + at] = p - a_r * r - a_g * g - a_b * b;
}

template <class T>
__device__ __forceinline__ void apply(const T* guide, long long stride, const float* lines, float* out, int full_height,
                                      int full_width, int height, int width, int channels) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= full_width || y >= full_height) return;
  const Taps down = taps_at(LINEAR, y, height, full_height), across = taps_at(LINEAR, x, width, full_width);
  const int x0 = clamped(across.first, 0, width - 1), x1 = clamped(across.first + 1, 0, width - 1);
  const long long y0 = (long long)clamped(down.first, 0, height - 1) * width;
  const long long y1 = (long long)clamped(down.first + 1, 0, height - 1) * width;
  const long long plane = (long long)height * width;
  const T* pixel = row_of(guide, stride, y) + (long long)x * channels;
  float total = 0.f;
#pragma unroll 1  // else registers spill on sm_86
  for (int k = 0; k <= channels; ++k) {
    const float* line = lines + k * plane;
    const float value = enlarged(line, y0, y1, x0, x1, down, across);
    total += k == channels ? value : value * (unit(pixel[k]) - 0.5f);
  }
  out[(long long)y * full_width + x] = total;
}

KERNEL(256) guided_apply_bytes(const byte* guide, long long stride, const float* lines, float* out, int full_height,
                               int full_width, int height, int width, int channels) {
  apply(guide, stride, lines, out, full_height, full_width, height, width, channels);
}
KERNEL(256) guided_apply_floats(const float* guide, long long stride, const float* lines, float* out, int full_height,
                                int full_width, int height, int width, int channels) {
  apply(guide, stride, lines, out, full_height, full_width, height, width, channels);
}
