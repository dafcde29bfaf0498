// What YOLOX says, as boxes in the photograph, each with its best class, those that are sure enough, in the order of
// the network's rows. Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430.
#include "prelude.cuh"

const float kLargestLog = 20.f;  // exp of more would overflow on a network that is not YOLOX

// One warp a row. raw: float (images, rows, 5 + classes): centre in cells from its cell, log of the size in cells,
// objectness, classes. places: float (images, 5): scale, dx, dy of the letterbox, height, width of the photograph.
// boxes, scores, classes: (images, rows[, 4]); a row that is not sure or has no area in the photograph gets a class of -1.
KERNEL(256) decode_yolox_rows(const float* raw, const float* places, float* boxes, float* scores, int* classes,
                              int rows, int kinds, int height, int width, float threshold) {
  const int lane = threadIdx.x & 31, row = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), image = blockIdx.y;
  if (row >= rows) return;
  const float* from = raw + ((long long)image * rows + row) * (5 + kinds);
  const float object = from[4];
  float best = -1.f;
  int kind = 0x7fffffff;
  for (int k = lane; k < kinds; k += 32) {
    const float score = object * from[5 + k];
    if (score > best) {
      best = score;
      kind = k;
    }
  }
  for (int by = 16; by > 0; by >>= 1) {
    const float other = __shfl_xor_sync(ALL_LANES, best, by);
    const int other_kind = __shfl_xor_sync(ALL_LANES, kind, by);
    if (other > best || (other == best && other_kind < kind)) {
      best = other;
      kind = other_kind;
    }
  }
  if (lane) return;
  int stride = 8, cell = row;  // the rows are those of strides 8, 16 and 32, one after another
  while (stride < 32 && cell >= (height / stride) * (width / stride)) {
    cell -= (height / stride) * (width / stride);
    stride *= 2;
  }
  const int columns = width / stride;
  const float* place = places + 5 * image;
  const float x = (from[0] + (float)(cell % columns)) * (float)stride, y = (from[1] + (float)(cell / columns)) * (float)stride;
  const float half_width = expf(fminf(from[2], kLargestLog)) * (float)stride / 2.f;
  const float half_height = expf(fminf(from[3], kLargestLog)) * (float)stride / 2.f;
  const float x0 = fminf(fmaxf((x - half_width - place[1]) / place[0], 0.f), place[4]);
  const float y0 = fminf(fmaxf((y - half_height - place[2]) / place[0], 0.f), place[3]);
  const float x1 = fminf(fmaxf((x + half_width - place[1]) / place[0], 0.f), place[4]);
  const float y1 = fminf(fmaxf((y + half_height - place[2]) / place[0], 0.f), place[3]);
  const long long at = (long long)image * rows + row;
  boxes[4 * at] = x0;
  boxes[4 * at + 1] = y0;
  boxes[4 * at + 2] = x1;
  boxes[4 * at + 3] = y1;
  scores[at] = best;
  classes[at] = best >= threshold && x1 > x0 && y1 > y0 ? kind : -1;
}

// One block an image: the rows with a class, moved together in their order. counts: int (images).
KERNEL(256) decode_yolox_compact(const float* boxes, const float* scores, const int* classes, float* out_boxes,
                                 float* out_scores, int* out_classes, int* counts, int rows) {
  __shared__ int warp_counts[8];
  const int t = threadIdx.x, lane = t & 31, warp = t >> 5;
  const long long first = (long long)blockIdx.x * rows;
  int done = 0;
  for (int begin = 0; begin < rows; begin += 256) {
    const int row = begin + t;
    const bool stays = row < rows && classes[first + row] >= 0;
    const unsigned votes = __ballot_sync(ALL_LANES, stays);
    if (lane == 0) warp_counts[warp] = __popc(votes);
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < 8; ++w) {
      if (w < warp) before += warp_counts[w];
      all += warp_counts[w];
    }
    if (stays) {
      const long long to = first + done + before + __popc(votes & ((1u << lane) - 1));
      for (int k = 0; k < 4; ++k) out_boxes[4 * to + k] = boxes[4 * (first + row) + k];
      out_scores[to] = scores[first + row];
      out_classes[to] = classes[first + row];
    }
    done += all;
    __syncthreads();
  }
  if (t == 0) counts[blockIdx.x] = done;
}
