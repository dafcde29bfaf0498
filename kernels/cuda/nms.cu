// Greedy non-maximum suppression of several images at once: the order by score, which box would suppress which, and a
// walk down the order. In double where boxes are compared, so that it decides as the NumPy version does.
#include "prelude.cuh"

// Whether box i stands before box j: the higher score, the earlier of equal ones; what is not a number comes last.
__device__ __forceinline__ bool stands_before(float score_i, int i, float score_j, int j) {
  const bool i_is_nan = score_i != score_i, j_is_nan = score_j != score_j;
  if (i_is_nan != j_is_nan) return j_is_nan;
  if (!i_is_nan && score_i != score_j) return score_i > score_j;
  return i < j;
}

// scores: float (images, most). counts: int (images), how many are there. order: int (images, most).
KERNEL(256) nms_order(const float* scores, const int* counts, int* order, int most) {
  __shared__ float tile[256];
  const int image = blockIdx.y, i = blockIdx.x * 256 + threadIdx.x, n = counts[image];
  const float* own = scores + (long long)image * most;
  const float score = i < n ? own[i] : 0.f;
  int rank = 0;
  for (int begin = 0; begin < n; begin += 256) {
    if (begin + (int)threadIdx.x < n) tile[threadIdx.x] = own[begin + threadIdx.x];
    __syncthreads();
    for (int k = 0; k < min(256, n - begin); ++k) rank += stands_before(tile[k], begin + k, score, i);
    __syncthreads();
  }
  if (i < n) order[(long long)image * most + rank] = i;
}

struct Box { double x0, y0, x1, y1, area; };

__device__ __forceinline__ Box box_at(const float* boxes, long long i) {
  Box box = {boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3], 0.0};
  box.area = fmax(0.0, box.x1 - box.x0) * fmax(0.0, box.y1 - box.y0);
  return box;
}

// Bit j of suppresses[image][i]: the i-th box of the order would suppress the j-th, a later one of its class.
// classes: int (images, most), or null. suppresses: (images, most, words of 32 bits).
KERNEL(128) nms_compare(const float* boxes, const int* classes, const int* counts, const int* order,
                        unsigned* suppresses, int most, int words, double threshold) {
  const int image = blockIdx.z, i = blockIdx.y, word = blockIdx.x * blockDim.x + threadIdx.x, n = counts[image];
  if (i >= n || word >= words) return;
  const long long first = (long long)image * most;
  const int own = order[first + i];
  const Box box = box_at(boxes, first + own);
  unsigned bits = 0;
  for (int j = max(word * 32, i + 1); j < min(word * 32 + 32, n); ++j) {
    const int other = order[first + j];
    if (classes && classes[first + other] != classes[first + own]) continue;
    const Box later = box_at(boxes, first + other);
    const double across = fmax(0.0, fmin(box.x1, later.x1) - fmax(box.x0, later.x0));
    const double down = fmax(0.0, fmin(box.y1, later.y1) - fmax(box.y0, later.y0));
    const double shared = across * down;
    if (shared > threshold * (box.area + later.area - shared)) bits |= 1u << (j - word * 32);
  }
  suppresses[(first + i) * words + word] = bits;
}

// One block an image. kept: int (images, most), the boxes that stay, best first, then -1. Shared memory: `words` words.
KERNEL(128) nms_walk(const int* counts, const int* order, const unsigned* suppresses, int* kept, int* kept_counts,
                     int most, int words) {
  DYNAMIC_SHARED(unsigned, gone);
  const int image = blockIdx.x, n = counts[image];
  const long long first = (long long)image * most;
  for (int word = threadIdx.x; word < words; word += blockDim.x) gone[word] = 0;
  __syncthreads();
  int stay = 0;
  for (int i = 0; i < n; ++i) {
    if (gone[i >> 5] >> (i & 31) & 1) continue;  // the same for all threads: box i never touches its own bit
    if (threadIdx.x == 0) kept[first + stay] = order[first + i];
    ++stay;
    for (int word = (i >> 5) + threadIdx.x; word < words; word += blockDim.x)
      gone[word] |= suppresses[(first + i) * words + word];
    __syncthreads();
  }
  for (int k = stay + threadIdx.x; k < most; k += blockDim.x) kept[first + k] = -1;
  if (threadIdx.x == 0) kept_counts[image] = stay;
}
