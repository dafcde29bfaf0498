// Closed-form matting, all but its solver: the pyramid, the matting Laplacian, the colour lines of an alpha.
// Levin, Lischinski, Weiss: A Closed-Form Solution to Natural Image Matting, TPAMI 2008.
//
// Everything of a level is framed (framed.cuh), whole planes: colours float (3, height + 4, width + 4) in 0..1, bands
// byte (height + 4, width + 4) of 0, 128 and 255. Which pixels are free the bands say, never a list of them.
#include "prelude.cuh"
#include "framed.cuh"
#include "resample.cuh"

// Whether all of a cell but a 250th of it is something: its share as OpenCV makes it a byte.
__device__ __forceinline__ bool all_of(float share) { return to_byte(255.f * share) >= 254; }

__device__ __forceinline__ byte band_of(float front, float back) { return all_of(front) ? 255 : all_of(back) ? 0 : 128; }

// Means over one cell of a larger picture. Where cells are whole pixels the sums are whole numbers, and the bytes those
// of OpenCV to the last one.
struct Cell {
  Taps down, across;
  bool whole;
  float scale;
};

__device__ __forceinline__ Cell cell_at(int y, int x, int full_height, int full_width, int height, int width) {
  Cell cell;
  cell.down = taps_at(AREA, y, full_height, height);
  cell.across = taps_at(AREA, x, full_width, width);
  cell.whole = full_height % height == 0 && full_width % width == 0;
  cell.scale = cell.whole ? 1.f / (float)(cell.down.count * cell.across.count) : 1.f;
  return cell;
}

__device__ __forceinline__ float weight_of(const Cell& cell, const Taps& taps, int k) {
  return cell.whole ? 1.f : tap_weight(taps, AREA, k);
}

// A level's first pixels: of the photograph and its trimap, rows `stride` apart. free_pixels: int, begins at 0: how many are.
// unknown: int, begins at 0: 1 when the trimap itself has an unknown pixel; a cell of both grounds is free without one.
KERNEL(256) closed_form_reduce(const byte* image, long long stride, const byte* trimap, long long trimap_stride,
                               float* colours, byte* bands, int* free_pixels, int* unknown, int full_height, int full_width,
                               int height, int width) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const long long plane = plane_of(height, width);
  const int at = framed_at(y, x, width);
  float total[3] = {0.f, 0.f, 0.f}, front = 0.f, back = 0.f;
  byte band = 0;
  if (x >= 0 && x < width && y >= 0 && y < height) {
    const Cell cell = cell_at(y, x, full_height, full_width, height, width);
    bool open = false;
#pragma unroll 1
    for (int j = 0; j < cell.down.count; ++j) {
      const int row = min(cell.down.first + j, full_height - 1);
      const byte* pixels = row_of(image, stride, row);
      const byte* marks = row_of(trimap, trimap_stride, row);
      float line[3] = {0.f, 0.f, 0.f}, line_front = 0.f, line_back = 0.f;
#pragma unroll 1
      for (int i = 0; i < cell.across.count; ++i) {
        const int column = min(cell.across.first + i, full_width - 1);
        const float weight = weight_of(cell, cell.across, i);
        for (int c = 0; c < 3; ++c) line[c] += weight * (float)pixels[3 * column + c];
        const int mark = marks[column];
        line_front += mark == 255 ? weight : 0.f;
        line_back += mark == 0 ? weight : 0.f;
        open = open || mark == 128;
      }
      const float weight = weight_of(cell, cell.down, j);
      for (int c = 0; c < 3; ++c) total[c] += weight * line[c];
      front += weight * line_front;
      back += weight * line_back;
    }
    const bool two_by_two = full_height == 2 * height && full_width == 2 * width;
    for (int c = 0; c < 3; ++c) total[c] = (float)mean_byte(total[c] * cell.scale, two_by_two) * (1.f / 255.f);
    band = band_of(front * cell.scale, back * cell.scale);
    if (band == 128) atomicAdd(free_pixels, 1);
    if (open) atomicOr(unknown, 1);
  }
  for (int c = 0; c < 3; ++c) colours[c * plane + at] = total[c];
  bands[at] = band;
}

// The level below one.
KERNEL(256) closed_form_halve(const float* finer_colours, const byte* finer_bands, float* colours, byte* bands, int* free_pixels,
                              int full_height, int full_width, int height, int width) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const long long plane = plane_of(height, width), full_plane = plane_of(full_height, full_width);
  const int at = framed_at(y, x, width);
  float total[3] = {0.f, 0.f, 0.f}, front = 0.f, back = 0.f;
  byte band = 0;
  if (x >= 0 && x < width && y >= 0 && y < height) {
    const Cell cell = cell_at(y, x, full_height, full_width, height, width);
#pragma unroll 1
    for (int j = 0; j < cell.down.count; ++j) {
      const int row = framed_at(min(cell.down.first + j, full_height - 1), 0, full_width);
      float line[3] = {0.f, 0.f, 0.f}, line_front = 0.f, line_back = 0.f;
#pragma unroll 1
      for (int i = 0; i < cell.across.count; ++i) {
        const int from = row + min(cell.across.first + i, full_width - 1);
        const float weight = weight_of(cell, cell.across, i);
        for (int c = 0; c < 3; ++c) line[c] += weight * finer_colours[c * full_plane + from];
        line_front += finer_bands[from] == 255 ? weight : 0.f;
        line_back += finer_bands[from] == 0 ? weight : 0.f;
      }
      const float weight = weight_of(cell, cell.down, j);
      for (int c = 0; c < 3; ++c) total[c] += weight * line[c];
      front += weight * line_front;
      back += weight * line_back;
    }
    for (int c = 0; c < 3; ++c) total[c] *= cell.scale;
    band = band_of(front * cell.scale, back * cell.scale);
    if (band == 128) atomicAdd(free_pixels, 1);
  }
  for (int c = 0; c < 3; ++c) colours[c * plane + at] = total[c];
  bands[at] = band;
}

// Where a level starts: what the lines of the one below say, float (5, lower_height, lower_width), or without them one
// half. alpha: float, framed, exactly 0 and 1 where the bands know.
KERNEL(256) closed_form_draw(const float* lines, const float* colours, const byte* bands, float* alpha, int lower_height,
                             int lower_width, int height, int width) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const int at = framed_at(y, x, width);
  float value = 0.f;
  if (bands[at] == 128) {  // the frame is 0
    value = 0.5f;
    if (lines) {
      const Taps down = taps_at(LINEAR, y, lower_height, height), across = taps_at(LINEAR, x, lower_width, width);
      const int x0 = clamped(across.first, 0, lower_width - 1), x1 = clamped(across.first + 1, 0, lower_width - 1);
      const int y0 = clamped(down.first, 0, lower_height - 1) * lower_width;
      const int y1 = clamped(down.first + 1, 0, lower_height - 1) * lower_width;
      const long long plane = plane_of(height, width), lower_plane = (long long)lower_height * lower_width;
      value = 0.f;
#pragma unroll 1
      for (int k = 0; k < 4; ++k) {
        const float* line = lines + k * lower_plane;
        const float slope = enlarged(line, y0, y1, x0, x1, down, across);
        value += k < 3 ? slope * colours[k * plane + at] : slope;
      }
      value = __saturatef(value);
    }
  } else if (bands[at] == 255) {
    value = 1.f;
  }
  alpha[at] = value;
}

// Whether a 3x3 window lies around (y, x): it holds a free pixel and nothing of the frame.
__device__ __forceinline__ bool is_window(const byte* bands, const int* unknown, int y, int x, int height, int width) {
  if (x < 1 || x >= width - 1 || y < 1 || y >= height - 1 || (unknown && !*unknown)) return false;
  const byte* middle = bands + framed_at(y, x, width);
  const int pitch = pitch_of(width);
  bool any = false;
  for (int dy = -1; dy <= 1; ++dy)
    for (int dx = -1; dx <= 1; ++dx) any = any || middle[dy * pitch + dx] == 128;
  return any;
}

struct Moments {
  float mean[3];
  float covariance[6];  // rr, gg, bb, rg, rb, gb
};

__device__ __forceinline__ Moments moments_of(const float* colours, long long plane, int at, int pitch) {
  Moments of;
  for (int c = 0; c < 3; ++c) of.mean[c] = 0.f;
  for (int k = 0; k < 6; ++k) of.covariance[k] = 0.f;
#pragma unroll 1
  for (int k = 0; k < 9; ++k) {
    const int from = at + (k / 3 - 1) * pitch + k % 3 - 1;
    for (int c = 0; c < 3; ++c) of.mean[c] += colours[c * plane + from];
  }
  for (int c = 0; c < 3; ++c) of.mean[c] /= 9.f;
#pragma unroll 1
  for (int k = 0; k < 9; ++k) {
    const int from = at + (k / 3 - 1) * pitch + k % 3 - 1;
    const float r = colours[from] - of.mean[0], g = colours[plane + from] - of.mean[1];
    const float b = colours[2 * plane + from] - of.mean[2];
    of.covariance[0] += r * r;
    of.covariance[1] += g * g;
    of.covariance[2] += b * b;
    of.covariance[3] += r * g;
    of.covariance[4] += r * b;
    of.covariance[5] += g * b;
  }
  for (int k = 0; k < 6; ++k) of.covariance[k] *= 1.f / 9.f;
  return of;
}

// The inverse of a covariance with `epsilon` on its diagonal, in the same order; by cofactors, which cancel: in double.
__device__ __forceinline__ void invert(const float* covariance, double epsilon, double* out) {
  const double a = covariance[0] + epsilon, b = covariance[1] + epsilon, c = covariance[2] + epsilon;
  const double d = covariance[3], e = covariance[4], f = covariance[5];
  const double aa = b * c - f * f, dd = e * f - d * c, ee = d * f - e * b;
  const double scale = 1. / (a * aa + d * dd + e * ee);
  out[0] = aa * scale;
  out[1] = (a * c - e * e) * scale;
  out[2] = (a * b - d * d) * scale;
  out[3] = dd * scale;
  out[4] = ee * scale;
  out[5] = (d * e - a * f) * scale;
}

// inverses: double (6, plane), of each window's covariance; the first is 0 where there is no window. means: float (3,
// plane). unknown: null, or 0 says that there is no window at all.
KERNEL(256) closed_form_windows(const float* colours, const byte* bands, const int* unknown, double* inverses,
                                float* means, int height, int width, double epsilon) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const long long plane = plane_of(height, width);
  const int at = framed_at(y, x, width);
  if (!is_window(bands, unknown, y, x, height, width)) {
    inverses[at] = 0.;
    return;
  }
  const Moments of = moments_of(colours, plane, at, pitch_of(width));
  double inverse[6];
  invert(of.covariance, epsilon, inverse);
  for (int k = 0; k < 6; ++k) inverses[k * plane + at] = inverse[k];
  for (int c = 0; c < 3; ++c) means[c * plane + at] = of.mean[c];
}

// The matting Laplacian off its diagonal: float (12, plane), each pair with the first of its pixels. Of two pixels of a
// window it is -(1 + d_i S d_j) / 9, summed over the windows that hold both. S d_i in double: S is large where colours
// are flat, and what it says of colours that are not cancels.
KERNEL(256) closed_form_pairs(const float* colours, const double* inverses, const float* means, float* pairs, int height,
                              int width) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const long long plane = plane_of(height, width);
  const int at = framed_at(y, x, width), pitch = pitch_of(width);
  float found[kAfter];
#pragma unroll
  for (int k = 0; k < kAfter; ++k) found[k] = 0.f;
  if (x >= 0 && x < width && y >= 0 && y < height) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {  // the window in which this pixel is the i-th
      const int middle = at - (i / 3 - 1) * pitch - (i % 3 - 1);
      const double a = inverses[middle];
      if (a == 0.) continue;
      const double b = inverses[plane + middle], c = inverses[2 * plane + middle];
      const double d = inverses[3 * plane + middle], e = inverses[4 * plane + middle], f = inverses[5 * plane + middle];
      const float mean_r = means[middle], mean_g = means[plane + middle], mean_b = means[2 * plane + middle];
      const double r = colours[at] - mean_r, g = colours[plane + at] - mean_g, u = colours[2 * plane + at] - mean_b;
      const float along_r = (float)(a * r + d * g + e * u), along_g = (float)(d * r + b * g + f * u);
      const float along_b = (float)(e * r + f * g + c * u);
#pragma unroll
      for (int j = i + 1; j < 9; ++j) {
        const int dy = j / 3 - i / 3, dx = j % 3 - i % 3, other = at + dy * pitch + dx;
        const float affinity = along_r * (colours[other] - mean_r) + along_g * (colours[plane + other] - mean_g) +
                               along_b * (colours[2 * plane + other] - mean_b);
        found[pair_number(dy, dx)] -= (1.f + affinity) * (1.f / 9.f);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kAfter; ++k) pairs[k * plane + at] = found[k];
}

// Each window's affine function, alpha = slopes . colour + offset: float (5, plane), framed; the fifth is 1, all are 0
// where there is no window. alpha: clipped to 0..1 as it is read.
KERNEL(256) closed_form_fit(const float* colours, const byte* bands, const int* unknown, const float* alpha, float* fits,
                            int height, int width, double epsilon) {
  const int x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - kFrame;
  const int y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - kFrame;
  if (x >= width + kFrame || y >= height + kFrame) return;
  const long long plane = plane_of(height, width);
  const int at = framed_at(y, x, width), pitch = pitch_of(width);
  float fit[5] = {0.f, 0.f, 0.f, 0.f, 0.f};
  if (is_window(bands, unknown, y, x, height, width)) {
    const Moments of = moments_of(colours, plane, at, pitch);
    float r = 0.f, g = 0.f, b = 0.f, mean = 0.f;
#pragma unroll 1
    for (int k = 0; k < 9; ++k) {
      const int from = at + (k / 3 - 1) * pitch + k % 3 - 1;
      const float value = __saturatef(alpha[from]);
      r += (colours[from] - of.mean[0]) * value;
      g += (colours[plane + from] - of.mean[1]) * value;
      b += (colours[2 * plane + from] - of.mean[2]) * value;
      mean += value;
    }
    double inverse[6];
    invert(of.covariance, epsilon, inverse);
    fit[0] = (float)(inverse[0] * r + inverse[3] * g + inverse[4] * b) / 9.f;
    fit[1] = (float)(inverse[3] * r + inverse[1] * g + inverse[5] * b) / 9.f;
    fit[2] = (float)(inverse[4] * r + inverse[5] * g + inverse[2] * b) / 9.f;
    fit[3] = mean / 9.f - (fit[0] * of.mean[0] + fit[1] * of.mean[1] + fit[2] * of.mean[2]);
    fit[4] = 1.f;
  }
  for (int k = 0; k < 5; ++k) fits[k * plane + at] = fit[k];
}

// The affine functions of the windows, averaged over those of a pixel: float (5, height, width), the fifth 0.
KERNEL(256) closed_form_average(const float* fits, float* lines, int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long plane = plane_of(height, width), out_plane = (long long)height * width;
  const int at = framed_at(y, x, width), pitch = pitch_of(width);
  float total[5] = {0.f, 0.f, 0.f, 0.f, 0.f};
#pragma unroll 1
  for (int k = 0; k < 9; ++k) {
    const int from = at + (k / 3 - 1) * pitch + k % 3 - 1;
    for (int c = 0; c < 5; ++c) total[c] += fits[c * plane + from];
  }
  const long long to = (long long)y * width + x;
  for (int c = 0; c < 4; ++c) lines[c * out_plane + to] = total[4] > 0.f ? total[c] / total[4] : 0.f;
  lines[4 * out_plane + to] = 0.f;
}

// A side of less than three pixels has no window: the alpha as it is, whatever the colour; 0 where nothing is free.
KERNEL(256) closed_form_without_windows(const float* alpha, const int* free_pixels, const int* unknown, float* lines,
                                        int height, int width) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
  if (x >= width || y >= height) return;
  const long long plane = (long long)height * width, to = (long long)y * width + x;
  const float value = *free_pixels && *unknown ? alpha[framed_at(y, x, width)] : 0.f;
  for (int c = 0; c < 5; ++c) lines[c * plane + to] = c == 3 ? value : 0.f;
}
