// Frames of a video file, as clipshift sees them: RGB, turned as shown, equal to its own where FFmpeg's decoder is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

/// A video that cannot be read; the others can go on.
struct VideoError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Byte c of pixel (x, y) of frame t is `rgb[((t * height + y) * width + x) * 3 + c]`, c = 0, 1, 2 for R, G, B.
struct Frames {
    std::size_t count = 0;
    std::size_t height = 0;
    std::size_t width = 0;
    std::vector<std::uint8_t> rgb;
};

/// The number of frames, counted by decoding them all: what a file's header says of it is not always true.
///
/// @throws VideoError  The file is missing, no video, without frames, or damaged.
std::int64_t count_frames(const std::string& path);

/// The frames of the given numbers, counted from 0, in any order, repeats allowed; decoding ends with the last one.
///
/// @throws VideoError  As above, or there is no such frame, or the video is to be shown turned by no multiple of 90
///                     degrees.
Frames read_frames(const std::string& path, const std::vector<std::int64_t>& numbers);
