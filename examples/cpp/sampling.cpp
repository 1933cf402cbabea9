#include "sampling.hpp"

#include <stdexcept>

namespace {

/// Frame of part i, by the rule's name. Divisions of whole numbers round down; those in double are the source projects' own.
std::int64_t sampled_frame(const std::string& sampling, std::int64_t i, std::int64_t frames, std::int64_t segments) {
    if (sampling == "middle") {
        return (2 * i + 1) * frames / (2 * segments);
    }
    if (sampling == "middle_or_first" && frames <= segments) {
        return 0;
    }
    if (sampling == "middle_float" || sampling == "middle_or_first") {
        const double part = static_cast<double>(frames) / static_cast<double>(segments);
        return static_cast<std::int64_t>(part / 2 + part * static_cast<double>(i));
    }
    if (sampling == "block_middle") {
        const std::int64_t size = frames / segments;
        return size == 0 ? i % frames : (size - 1) / 2 + i * size;
    }
    if (sampling == "ends") {
        if (i > 0 && i == segments - 1) {
            return frames - 1;
        }
        const double step = segments == 1 ? 0 : static_cast<double>(frames - 1) / static_cast<double>(segments - 1);
        return static_cast<std::int64_t>(step * static_cast<double>(i));
    }
    throw std::invalid_argument("this program does not know the model's rule of sampling, \"" + sampling +
                                "\"; it knows middle, middle_float, middle_or_first, block_middle and ends");
}

}  // namespace

std::vector<std::int64_t> sampled_frames(const std::string& sampling, std::int64_t frames, std::int64_t segments) {
    std::vector<std::int64_t> numbers;
    for (std::int64_t i = 0; i < segments; ++i) {
        numbers.push_back(sampled_frame(sampling, i, frames, segments));
    }
    return numbers;
}
