#include "video.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

namespace {

std::string reason(int error) {
    std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
    av_strerror(error, text.data(), text.size());
    return text.data();
}

struct Free {
    void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
    void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
    void operator()(AVPacket* packet) const { av_packet_free(&packet); }
    void operator()(AVFrame* frame) const { av_frame_free(&frame); }
    void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};

template <typename T>
using Owned = std::unique_ptr<T, Free>;

/// Gives the frames of a file's first video stream one after the other.
class Decoder {
public:
    explicit Decoder(const std::string& path) {
        AVFormatContext* format = nullptr;
        // "file:" keeps a name with a colon from being read as an address.
        if (const int error = avformat_open_input(&format, ("file:" + path).c_str(), nullptr, nullptr); error < 0) {
            throw VideoError(error == AVERROR(ENOENT) ? "The file does not exist."
                                                      : "The file is not a video that can be read. " + reason(error));
        }
        format_.reset(format);
#if LIBAVFORMAT_VERSION_MAJOR < 61
        av_format_inject_global_side_data(format);  // hands the display matrix to the frames; later versions always do
#endif
        if (const int error = avformat_find_stream_info(format, nullptr); error < 0) {
            throw VideoError("The file is not a video that can be read. " + reason(error));
        }
        for (unsigned i = 0; i < format->nb_streams && stream_ == nullptr; ++i) {
            AVStream* stream = format->streams[i];
            const bool picture = (stream->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;  // the cover of a recording
            if (stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !picture) {
                stream_ = stream;
            }
        }
        if (stream_ == nullptr) {
            throw VideoError("The file has no video stream.");
        }
        const AVCodec* decoder = avcodec_find_decoder(stream_->codecpar->codec_id);
        if (decoder == nullptr) {
            throw VideoError("The video's codec is unknown.");
        }
        codec_.reset(avcodec_alloc_context3(decoder));
        avcodec_parameters_to_context(codec_.get(), stream_->codecpar);
        codec_->thread_count = 1;  // with more, FFmpeg 5 ends the program at some damaged files
        if (decoder->id != AV_CODEC_ID_H264) {
            codec_->err_recognition = AV_EF_EXPLODE;  // H.264's decoder marks its damaged frames by itself
        }
        check(avcodec_open2(codec_.get(), decoder, nullptr));
    }

    /// The next frame, valid until the next call; nullptr after the last one.
    const AVFrame* next() {
        for (;;) {
            const int got = avcodec_receive_frame(codec_.get(), frame_.get());
            if (got == AVERROR_EOF) {
                return nullptr;
            }
            if (got != AVERROR(EAGAIN)) {
                check(got);
                if ((frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame_->decode_error_flags != 0) {
                    damaged("errors that the decoder reports and hides");
                }
                ++frames_;
                return frame_.get();
            }
            feed();
        }
    }

private:
    void feed() {
        int read = 0;
        do {
            av_packet_unref(packet_.get());
            read = av_read_frame(format_.get(), packet_.get());
        } while (read == 0 && packet_->stream_index != stream_->index);
        if (read == AVERROR_EOF) {
            check(avcodec_send_packet(codec_.get(), nullptr));
            return;
        }
        check(read);
        if ((packet_->flags & AV_PKT_FLAG_CORRUPT) != 0) {
            damaged("an incomplete packet");
        }
        check(avcodec_send_packet(codec_.get(), packet_.get()));
    }

    void check(int result) const {
        if (result < 0) {
            damaged(reason(result));
        }
    }

    [[noreturn]] void damaged(const std::string& found) const {
        throw VideoError("The video is damaged or cut off, after frame " + std::to_string(frames_) + ": " + found);
    }

    Owned<AVFormatContext> format_;
    Owned<AVCodecContext> codec_;
    Owned<AVPacket> packet_{av_packet_alloc()};
    Owned<AVFrame> frame_{av_frame_alloc()};
    AVStream* stream_ = nullptr;
    std::int64_t frames_ = 0;
};

/// How a stored frame is laid on the screen: an exchange of the axes, then mirrorings.
struct Orientation {
    bool transposed = false;
    bool mirrored = false;  // left and right are exchanged
    bool flipped = false;   // top and bottom are exchanged
};

/// Reads the frame's display matrix a b u c d v x y w, by which (p, q) is shown at (a p + c q, b p + d q).
Orientation read_orientation(const AVFrame& frame) {
    const AVFrameSideData* data = av_frame_get_side_data(&frame, AV_FRAME_DATA_DISPLAYMATRIX);
    if (data == nullptr) {
        return {};
    }
    std::array<std::int32_t, 9> matrix{};
    std::memcpy(matrix.data(), data->data, sizeof matrix);
    const std::int64_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
    const std::int64_t largest = std::max({std::abs(a), std::abs(b), std::abs(c), std::abs(d)});
    // Writers round: what is below a thousandth of the rest counts as nothing.
    const auto is = [largest](std::int64_t value) { return std::abs(value) * 1000 >= largest && value != 0; };
    if (is(a) && is(d) && !is(b) && !is(c)) {
        return {false, a < 0, d < 0};
    }
    if (is(b) && is(c) && !is(a) && !is(d)) {
        return {true, c < 0, b < 0};
    }
    throw VideoError("The video is to be shown turned by an angle that is no multiple of 90 degrees.");
}

/// Whether swscale has the matrix of these colors; without asking it would take another one.
bool is_convertible(AVColorSpace colors) {
    switch (colors) {
        case AVCOL_SPC_RGB:
        case AVCOL_SPC_BT709:
        case AVCOL_SPC_UNSPECIFIED:
        case AVCOL_SPC_FCC:
        case AVCOL_SPC_BT470BG:
        case AVCOL_SPC_SMPTE170M:
        case AVCOL_SPC_SMPTE240M:
        case AVCOL_SPC_BT2020_NCL:
            return true;
        default:
            return false;
    }
}

/// Converts a frame to RGB, as stored, with the flags and the matrix of PyAV's `to_ndarray(format="rgb24")`.
Owned<AVFrame> to_rgb(const AVFrame& frame) {
    Owned<AVFrame> rgb(av_frame_alloc());
    rgb->format = AV_PIX_FMT_RGB24;
    rgb->width = frame.width;
    rgb->height = frame.height;
    const Owned<SwsContext> scaler(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format),
                                                  frame.width, frame.height, AV_PIX_FMT_RGB24, SWS_BILINEAR, nullptr,
                                                  nullptr, nullptr));
    if (!is_convertible(frame.colorspace) || scaler == nullptr || av_frame_get_buffer(rgb.get(), 0) < 0) {
        throw VideoError("The colors of the video cannot be converted.");
    }
    // The matrix that the video names (BT.601 if none), from its range to the full one; no change of brightness.
    const int full_range = frame.color_range == AVCOL_RANGE_JPEG ? 1 : 0;
    sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(frame.colorspace), full_range,
                             sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
    sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, rgb->data, rgb->linesize);
    return rgb;
}

/// Writes a stored RGB frame as shown, `target` being the first of height x width x 3 bytes.
void write_shown(const AVFrame& rgb, const Orientation& orientation, std::size_t height, std::size_t width,
                 std::uint8_t* target) {
    for (std::size_t y = 0; y < height; ++y) {
        const std::size_t row = orientation.flipped ? height - 1 - y : y;
        for (std::size_t x = 0; x < width; ++x, target += 3) {
            const std::size_t column = orientation.mirrored ? width - 1 - x : x;
            const std::size_t stored_y = orientation.transposed ? column : row;
            const std::size_t stored_x = orientation.transposed ? row : column;
            std::memcpy(target, rgb.data[0] + stored_y * static_cast<std::size_t>(rgb.linesize[0]) + stored_x * 3, 3);
        }
    }
}

}  // namespace

std::int64_t count_frames(const std::string& path) {
    Decoder decoder(path);
    std::int64_t count = 0;
    while (decoder.next() != nullptr) {
        ++count;
    }
    if (count == 0) {
        throw VideoError("The video has no frames.");
    }
    return count;
}

Frames read_frames(const std::string& path, const std::vector<std::int64_t>& numbers) {
    std::multimap<std::int64_t, std::size_t> places;  // where in the result each frame goes
    for (std::size_t place = 0; place < numbers.size(); ++place) {
        places.emplace(numbers[place], place);
    }
    Decoder decoder(path);
    Orientation orientation;
    int stored_width = 0;
    int stored_height = 0;
    Frames frames;
    frames.count = numbers.size();
    for (std::int64_t number = 0; !places.empty(); ++number) {
        const AVFrame* frame = decoder.next();
        if (frame == nullptr) {
            throw VideoError("The video has no frame " + std::to_string(places.begin()->first) + ".");
        }
        if (number == 0) {
            stored_width = frame->width;
            stored_height = frame->height;
            orientation = read_orientation(*frame);
            frames.height = static_cast<std::size_t>(orientation.transposed ? frame->width : frame->height);
            frames.width = static_cast<std::size_t>(orientation.transposed ? frame->height : frame->width);
            frames.rgb.resize(frames.count * frames.height * frames.width * 3);
        }
        const auto [first, last] = places.equal_range(number);
        if (first == last) {
            continue;
        }
        if (frame->width != stored_width || frame->height != stored_height) {
            throw VideoError("The size of the frames changes within the video.");
        }
        const Owned<AVFrame> rgb = to_rgb(*frame);
        for (auto place = first; place != last; ++place) {
            const std::size_t size = frames.height * frames.width * 3;
            write_shown(*rgb, orientation, frames.height, frames.width, frames.rgb.data() + place->second * size);
        }
        places.erase(first, last);
    }
    return frames;
}
