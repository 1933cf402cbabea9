// Which frames of a video the network sees.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

/// The frames that the rule `sampling` takes of a video, as clipshift's `video/sampling.py`.
///
/// @param sampling  `input.sampling` of the model's `spec`.
/// @param frames    Number of frames of the video, at least 1.
/// @param segments  Number of frames to take, at least 1.
/// @return `segments` numbers, each 0 <= number < frames.
/// @throws std::invalid_argument  The rule is not one of those below.
std::vector<std::int64_t> sampled_frames(const std::string& sampling, std::int64_t frames, std::int64_t segments);
