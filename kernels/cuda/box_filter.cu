// Means over squares of 2 * radius + 1 pixels, of many planes at once, in a pass along the rows and one down the
// columns: the cost does not grow with the radius. Squares are cut off at the frame, or the frame's edge is repeated.
//
// The row pass can take products of planes instead of planes: what the guided filter averages.
#include "prelude.cuh"

enum Layout { PLAIN = 0, GREY = 1, COLOUR = 2 };  // GREY: planes I, p; COLOUR: planes r, g, b, p

__device__ __forceinline__ float product(const float* planes, long long plane, int layout, int k, long long at) {
  if (layout == GREY) {  // I, p, I p, I I
    const float guide = planes[at], target = planes[plane + at];
    return k == 0 ? guide : k == 1 ? target : k == 2 ? guide * target : guide * guide;
  }
  if (layout == COLOUR && k >= 4) {  // r, g, b, p, then r p, g p, b p, then r r, g g, b b, then r g, r b, g b
    const int left = k < 7 ? k - 4 : k < 10 ? k - 7 : k == 12 ? 1 : 0;
    const int right = k < 7 ? 3 : k < 10 ? k - 7 : k == 10 ? 1 : 2;
    return planes[left * plane + at] * planes[right * plane + at];
  }
  return planes[k * plane + at];
}

const int kRun = 256;  // outputs of a block, one a thread

const int kDirect = 8;  // up to this radius each square's row is added up by itself, which loses nothing

__device__ __forceinline__ float of_row(const float* in, long long plane, int layout, int k, long long row, int x,
                                        int width, int repeat, float centre) {
  if (!repeat && (x < 0 || x >= width)) return 0.f;
  return product(in, plane, layout, k, row + clamped(x, 0, width - 1)) - centre;
}

// Turns n values in shared memory into the sums of all up to and with each, by all kRun threads of the block.
__device__ __forceinline__ void sum_up(float* values, float* warp_sums, int n) {
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  const int each = (n + kRun - 1) / kRun, begin = t * each, end = min(n, begin + each);
  float mine = 0.f;
  for (int i = begin; i < end; ++i) {
    mine += values[i];
    values[i] = mine;
  }
  float through = mine;  // becomes the sum of the warp's values up to this thread's last one
  for (int by = 1; by < 32; by <<= 1) {
    const float other = __shfl_up_sync(ALL_LANES, through, by);
    if (lane >= by) through += other;
  }
  if (lane == 31) warp_sums[warp] = through;
  __syncthreads();
  float before = through - mine;
  for (int w = 0; w < warp; ++w) before += warp_sums[w];
  for (int i = begin; i < end; ++i) values[i] += before;
  __syncthreads();
}

// What becomes of the sum of a square, or of its row, given as the distance from `count` times the centre. scale 0: the
// mean. Else the sum times it, as cv2.blur rounds: sums of whole numbers below 2^24 are exact in floats.
__device__ __forceinline__ float of_sum(float total, int count, float centre, double scale) {
  if (scale == 0) return total / (float)count + centre;
  return (float)((double)(total + centre * (float)count) * scale);
}

// A block makes kRun means of one row. What they cover lies in shared memory, as the distance from one of the values, so
// that sums keep their digits. Shared memory: kRun + 2 * radius + 1 floats.
// in: (planes, height, width) float; out: one plane for each blockIdx.z. Blocks along x are rows: y has too few for them.
KERNEL(256) box_rows(const float* in, float* out, int height, int width, int radius, int repeat, int layout,
                     double scale) {
  DYNAMIC_SHARED(float, sums);  // sums[i + 1]: of the values up to and with i
  __shared__ float warp_sums[kRun / 32];
  const int t = threadIdx.x, k = blockIdx.z, left = blockIdx.y * kRun - radius, n = kRun + 2 * radius;
  const long long plane = (long long)height * width, row = (long long)blockIdx.x * width;
  const float centre = product(in, plane, layout, k, row + min(left + radius, width - 1));
  for (int i = t; i < n; i += kRun) sums[i + 1] = of_row(in, plane, layout, k, row, left + i, width, repeat, centre);
  if (t == 0) sums[0] = 0.f;
  __syncthreads();
  const bool direct = radius <= kDirect;
  if (!direct) sum_up(sums + 1, warp_sums, n);
  const int x = left + radius + t;
  if (x >= width) return;
  const int first = repeat ? x - radius : max(x - radius, 0), last = repeat ? x + radius : min(x + radius, width - 1);
  float total = 0.f;
  if (direct) {
    for (int i = first; i <= last; ++i) total += sums[i + 1 - left];
  } else {
    total = sums[last + 1 - left] - sums[first - left];
  }
  out[k * plane + row + x] = of_sum(total, last - first + 1, centre, scale);
}

const int kColumn = 32;  // rows of a thread

// A thread slides down kColumn rows of one column. In place would be wrong: windows overlap.
KERNEL(256) box_columns(const float* in, float* out, int height, int width, int radius, int repeat, double scale) {
  const int x = blockIdx.x * blockDim.x + threadIdx.x, top = blockIdx.y * kColumn;
  if (x >= width) return;
  const float* column = in + (long long)blockIdx.z * height * width + x;
  float* to = out + (long long)blockIdx.z * height * width + x;
  const float centre = column[(long long)top * width];
  float total = 0.f;
  for (int y = top - radius; y < top + radius; ++y)
    if (repeat || (y >= 0 && y < height)) total += column[(long long)clamped(y, 0, height - 1) * width] - centre;
  for (int y = top; y < min(top + kColumn, height); ++y) {
    const int enters = y + radius, leaves = y - radius;
    if (repeat || enters < height) total += column[(long long)min(enters, height - 1) * width] - centre;
    const int count = repeat ? 2 * radius + 1 : min(enters, height - 1) - max(leaves, 0) + 1;
    to[(long long)y * width] = of_sum(total, count, centre, scale);
    if (repeat || leaves >= 0) total -= column[(long long)max(leaves, 0) * width] - centre;
  }
}
