// Conjugate gradients on a framed picture (framed.cuh), with Jacobi's preconditioner, where all numbers that decide how
// to go on stay on the device: a step more after it is solved does nothing.
// Hestenes, Stiefel: Methods of Conjugate Gradients for Solving Linear Systems, 1952.
//
// The matrix is symmetric and each of its rows sums to nothing: `pairs`, float (12, plane), holds what is off its
// diagonal. To it comes `trust` on the diagonal, in where alpha begins: a step is solved for, not alpha.
//
// Sums are in a fixed order, the same in every run: floats within a warp, doubles beyond it. Blocks leave theirs in a
// list, one entry a block, and every block of the next launch adds up all of it for itself: one warp of it, for some
// GPUs have few units for doubles.
#include "prelude.cuh"
#include "framed.cuh"

const int kTileWidth = 32, kTileHeight = 8, kWarps = kTileWidth * kTileHeight / 32;  // of a block of pixels

// Solved; or flat as far as a float can tell, and a step along it would go anywhere.
__device__ __forceinline__ bool is_end(double power, double curvature, double square, int free_pixels) {
  return power <= 1e-10 * free_pixels || curvature <= 1e-6 * square;
}

// The sum of a list of doubles, the same in every lane. A whole warp must call it.
__device__ __forceinline__ double sum_of(const double* list, int count) {
  double total = 0.;
  for (int i = threadIdx.x & 31; i < count; i += 32) total += list[i];
  for (int by = 16; by > 0; by >>= 1) total += __shfl_xor_sync(ALL_LANES, total, by);
  return total;
}

__device__ __forceinline__ float warp_sum(float value) {
  for (int by = 16; by > 0; by >>= 1) value += __shfl_xor_sync(ALL_LANES, value, by);
  return value;
}

// What the matrix without trust makes of x at one pixel, and the diagonal there.
__device__ __forceinline__ float times(const float* pairs, long long plane, const float* x, int at, int pitch,
                                       float* diagonal) {
  const float own = x[at];
  float total = 0.f, weights = 0.f;
#pragma unroll 3  // more, and registers spill on some architectures
  for (int k = 0; k < kAfter; ++k) {
    const float* pair = pairs + k * plane;
    const int step = after(k, pitch);
    const float forward = pair[at], backward = pair[at - step];
    total += forward * (x[at + step] - own) + backward * (x[at - step] - own);
    weights += forward + backward;
  }
  if (diagonal) *diagonal = -weights;
  return total;
}

// Where the residual begins. inverse: of the diagonal, 0 where a pixel is not free; it and the residual float (plane), 0
// before. powers: double, one a block: of residual . inverse residual.
KERNEL(256) gradients_begin(const float* pairs, const byte* bands, const float* alpha, float* inverse, float* residual,
                            double* powers, int height, int width, float trust) {
  __shared__ double sums[kWarps];
  const int x = blockIdx.x * kTileWidth + threadIdx.x, y = blockIdx.y * kTileHeight + threadIdx.y;
  float power = 0.f;
  if (x < width && y < height) {
    const int at = framed_at(y, x, width);
    if (bands[at] == 128) {
      float diagonal;
      const float left = -times(pairs, plane_of(height, width), alpha, at, pitch_of(width), &diagonal);
      const float weight = 1.f / (diagonal + trust);
      inverse[at] = weight;
      residual[at] = left;
      power = left * weight * left;
    }
  }
  power = warp_sum(power);
  if (threadIdx.x == 0) sums[threadIdx.y] = power;  // a row of threads is a warp
  __syncthreads();
  if (threadIdx.x || threadIdx.y) return;
  double total = 0.;
  for (int w = 0; w < kWarps; ++w) total += sums[w];
  powers[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

// The first half of a step: a new direction `along` out of the one before, and its image. powers: double (blocks).
// scalars: double (2), powers of even and of odd steps; ended: int (2), likewise, 1 where it is the end, begins at 0. A
// launch writes those of the one kind and reads those of the other: its blocks may run long after one another.
// bends: double (2, blocks): of along . image, of along . along.
KERNEL(256) gradients_turn(const float* pairs, const float* inverse, const float* residual, const float* before,
                           float* along, float* image, const double* powers, double* scalars, double* bends,
                           const int* ended, int iteration, int height, int width, float trust) {
  const int kWide = kTileWidth + 2 * kFrame, kHigh = kTileHeight + 2 * kFrame;
  __shared__ float tile[kHigh * kWide];
  __shared__ double sums[2 * kWarps], power;
  if (ended[iteration & 1]) return;
  const int tiles = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
  const int pitch = pitch_of(width), rows = height + 2 * kFrame, t = threadIdx.y * kTileWidth + threadIdx.x;
  if (threadIdx.y == 0) {
    const double total = sum_of(powers, tiles);
    if (threadIdx.x == 0) power = total;
  }
  __syncthreads();
  const float share = iteration ? (float)(power / scalars[(iteration - 1) & 1]) : 0.f;
  for (int i = t; i < kHigh * kWide; i += kTileWidth * kTileHeight) {
    const int y = blockIdx.y * kTileHeight + i / kWide, x = blockIdx.x * kTileWidth + i % kWide;
    const int at = y * pitch + x;
    tile[i] = y < rows && x < pitch ? share * before[at] + inverse[at] * residual[at] : 0.f;
  }
  __syncthreads();
  const int x = blockIdx.x * kTileWidth + threadIdx.x, y = blockIdx.y * kTileHeight + threadIdx.y;
  float curvature = 0.f, square = 0.f;
  if (x < width && y < height) {
    const long long plane = plane_of(height, width);
    const int at = framed_at(y, x, width);
    const float* middle = tile + (threadIdx.y + kFrame) * kWide + threadIdx.x + kFrame;
    const float own = *middle;
    along[at] = own;
    if (inverse[at] != 0.f) {
      float total = trust * own;
#pragma unroll 3  // more, and registers spill on some architectures
      for (int k = 0; k < kAfter; ++k) {
        const float* pair = pairs + k * plane;
        const int near = after(k, kWide), step = after(k, pitch);
        total += pair[at] * (middle[near] - own) + pair[at - step] * (middle[-near] - own);
      }
      image[at] = total;
      curvature = own * total;
      square = own * own;
    }
  }
  curvature = warp_sum(curvature);
  square = warp_sum(square);
  if (threadIdx.x == 0) {
    sums[threadIdx.y] = curvature;
    sums[kWarps + threadIdx.y] = square;
  }
  __syncthreads();
  if (t >= 2) return;
  double total = 0.;
  for (int w = 0; w < kWarps; ++w) total += sums[t * kWarps + w];
  bends[t * tiles + block] = total;
  if (t == 0 && block == 0) scalars[iteration & 1] = power;
}

// The second half: alpha and the residual one step along, and the next powers.
KERNEL(256) gradients_step(float* alpha, float* residual, const float* inverse, const float* along, const float* image,
                           const double* scalars, const double* bends, double* powers, const int* free_pixels,
                           int* ended, int iteration, int height, int width) {
  __shared__ double sums[kWarps], both[2];
  const int tiles = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
  bool is_over = ended[iteration & 1];
  if (threadIdx.y < 2 && !is_over) {
    const double total = sum_of(bends + threadIdx.y * tiles, tiles);
    if (threadIdx.x == 0) both[threadIdx.y] = total;
  }
  __syncthreads();
  const double power = scalars[iteration & 1], curvature = both[0];
  is_over = is_over || is_end(power, curvature, both[1], *free_pixels);
  if (is_over) {
    if (block == 0 && threadIdx.x == 0 && threadIdx.y == 0) ended[(iteration + 1) & 1] = 1;
    return;
  }
  const float length = (float)(power / curvature);
  const int x = blockIdx.x * kTileWidth + threadIdx.x, y = blockIdx.y * kTileHeight + threadIdx.y;
  float next = 0.f;
  if (x < width && y < height) {
    const int at = framed_at(y, x, width);
    const float weight = inverse[at];
    if (weight != 0.f) {
      alpha[at] += length * along[at];
      const float left = residual[at] - length * image[at];
      residual[at] = left;
      next = left * weight * left;
    }
  }
  next = warp_sum(next);
  if (threadIdx.x == 0) sums[threadIdx.y] = next;
  __syncthreads();
  if (threadIdx.x || threadIdx.y) return;
  double total = 0.;
  for (int w = 0; w < kWarps; ++w) total += sums[w];
  powers[block] = total;
}

const int kMostWarps = 32;  // of the one block that solves a small picture; it has at least two

// The sums of two values over all threads of that block, the same in each.
struct BlockSums {
  double warps[2 * kMostWarps], both[2];
};

__device__ __forceinline__ void block_sums(BlockSums* sums, float first, float second) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  first = warp_sum(first);
  second = warp_sum(second);
  if (lane == 0) {
    sums->warps[warp] = first;
    sums->warps[kMostWarps + warp] = second;
  }
  __syncthreads();
  if (warp < 2) {
    const double total = sum_of(sums->warps + warp * kMostWarps, blockDim.x / 32);
    if (lane == 0) sums->both[warp] = total;
  }
  __syncthreads();
}

// All steps of a small picture in one launch of one block. tiles: blocks of gradients_begin.
KERNEL(1024, 1) gradients_small(const float* pairs, const float* inverse, float* residual, float* along, float* image,
                                float* alpha, const double* powers, const int* free_pixels, int tiles, int iterations,
                                int height, int width, float trust) {
  __shared__ BlockSums sums;
  const long long plane = plane_of(height, width);
  const int pitch = pitch_of(width), threads = blockDim.x;
  const int begin = framed_at(0, 0, width) + threadIdx.x, end = framed_at(height - 1, width, width);
  double power = sum_of(powers, tiles);
  for (int at = begin; at < end; at += threads) along[at] = inverse[at] * residual[at];
  __syncthreads();
  for (int iteration = 0; iteration < iterations; ++iteration) {
    float curvature = 0.f, square = 0.f;
    for (int at = begin; at < end; at += threads) {
      if (inverse[at] == 0.f) continue;
      const float own = along[at], value = times(pairs, plane, along, at, pitch, nullptr) + trust * own;
      image[at] = value;
      curvature += own * value;
      square += own * own;
    }
    block_sums(&sums, curvature, square);
    if (is_end(power, sums.both[0], sums.both[1], *free_pixels)) return;
    const float length = (float)(power / sums.both[0]);
    float next = 0.f;
    for (int at = begin; at < end; at += threads) {
      if (inverse[at] == 0.f) continue;
      alpha[at] += length * along[at];
      const float left = residual[at] - length * image[at];
      residual[at] = left;
      next += left * inverse[at] * left;
    }
    block_sums(&sums, next, 0.f);
    const float share = (float)(sums.both[0] / power);
    power = sums.both[0];
    for (int at = begin; at < end; at += threads) along[at] = share * along[at] + inverse[at] * residual[at];
    __syncthreads();
  }
}
