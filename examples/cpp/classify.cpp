// Classifies videos with a model that `clipshift export` wrote, and prints what `clipshift predict` prints.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "sampling.hpp"
#include "video.hpp"

namespace {

constexpr int FORMAT = 2;  // of the description
constexpr std::size_t SHOWN = 5;

/// A model file, and what its description says of its use.
struct Model {
    ov::CompiledModel network;
    std::vector<std::string> classes;
    std::string sampling;
    std::int64_t segments = 0;
};

/// The description of an exported model, which its file carries as JSON.
nlohmann::json read_description(const ov::Model& model, const std::string& path) {
    // OpenVINO keeps an ONNX file's metadata here, and clipshift puts the same text here in OpenVINO's own files.
    if (!model.has_rt_info("framework", "clipshift")) {
        throw std::runtime_error(path + ": the file was not made by `clipshift export`: it has no metadata `clipshift`");
    }
    nlohmann::json description = nlohmann::json::parse(model.get_rt_info<std::string>("framework", "clipshift"));
    if (description.at("format") > FORMAT) {
        throw std::runtime_error(path + ": the file is of a newer format than this program knows");
    }
    if (description.at("input") != "frames") {
        throw std::runtime_error(path + ": the model does not take frames; export it without --input clips");
    }
    if (description.at("spec").at("clips") != 1) {
        throw std::runtime_error(path + ": the model is meant for several sets of frames per video, which this program"
                                        " does not average");
    }
    return description;
}

Model load(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) {
        throw std::runtime_error(path + ": there is no such file");
    }
    ov::Core core;
    std::shared_ptr<ov::Model> read;
    try {
        read = core.read_model(path);
    } catch (const ov::Exception&) {
        throw std::runtime_error(path + ": the file is no model that OpenVINO can read");
    }
    const nlohmann::json spec = read_description(*read, path).at("spec");
    Model model;
    model.classes = spec.at("classes").get<std::vector<std::string>>();
    model.sampling = spec.at("input").at("sampling").get<std::string>();
    model.segments = spec.at("input").at("segments").get<std::int64_t>();
    sampled_frames(model.sampling, 1, model.segments);  // an unknown rule is told now, not at the first video
    // Without this, CPUs that can take bfloat16: faster, but other probabilities in the third digit.
    model.network = core.compile_model(read, "CPU", ov::hint::inference_precision(ov::element::f32),
                                       ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
    return model;
}

/// The probability of each class.
std::vector<float> classify(Model& model, const std::string& video) {
    Frames frames = read_frames(video, sampled_frames(model.sampling, count_frames(video), model.segments));
    ov::InferRequest request = model.network.create_infer_request();
    request.set_tensor("frames", ov::Tensor(ov::element::u8, {1, frames.count, frames.height, frames.width, 3},
                                            frames.rgb.data()));
    request.infer();
    const ov::Tensor probabilities = request.get_tensor("probabilities");
    const float* first = probabilities.data<const float>();
    return {first, first + probabilities.get_size()};
}

/// The numbers of the classes, most probable first.
std::vector<std::size_t> ranked(const std::vector<float>& probabilities) {
    std::vector<std::size_t> order(probabilities.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return probabilities[a] > probabilities[b]; });
    return order;
}

void print_text(const Model& model, const std::string& video, const std::vector<float>& probabilities) {
    std::printf("%s: ", video.c_str());
    const std::vector<std::size_t> order = ranked(probabilities);
    for (std::size_t place = 0; place < std::min(order.size(), SHOWN); ++place) {
        const std::size_t best = order[place];
        const char* comma = place == 0 ? "" : ", ";
        std::printf("%s%s %.1f%%", comma, model.classes.at(best).c_str(), 100.0 * probabilities[best]);
    }
    std::printf("\n");
}

void print_json(const Model& model, const std::string& video, const std::vector<float>& probabilities) {
    nlohmann::ordered_json by_class;
    const std::vector<std::size_t> order = ranked(probabilities);
    for (const std::size_t best : order) {
        by_class[model.classes.at(best)] = std::round(probabilities[best] * 1e6) / 1e6;
    }
    const std::string& label = model.classes.at(order.front());
    const nlohmann::ordered_json line{{"path", video}, {"label", label}, {"probabilities", by_class}};
    std::printf("%s\n", line.dump().c_str());
}

/// Prints one line a video, also for one that cannot be read. Returns whether all could be.
bool run(Model& model, const std::vector<std::string>& videos, bool json) {
    bool well = true;
    for (const std::string& video : videos) {
        try {
            const std::vector<float> probabilities = classify(model, video);
            json ? print_json(model, video, probabilities) : print_text(model, video, probabilities);
        } catch (const VideoError& error) {
            well = false;
            if (json) {
                std::printf("%s\n", nlohmann::ordered_json{{"path", video}, {"error", error.what()}}.dump().c_str());
            } else {
                std::printf("%s: ERROR %s\n", video.c_str(), error.what());
            }
        }
        std::fflush(stdout);
    }
    return well;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> words(argv + 1, argv + argc);
    const auto option = std::find(words.begin(), words.end(), "--json");
    const bool json = option != words.end();
    if (json) {
        words.erase(option);
    }
    if (words.size() < 2) {
        std::cerr << "Usage: classify [--json] MODEL VIDEO...\n"
                     "  MODEL   model.onnx or model.xml, as `clipshift export` wrote it\n"
                     "  --json  one JSON object a video, with all classes\n";
        return 2;
    }
    try {
        Model model = load(words.front());
        return run(model, {words.begin() + 1, words.end()}, json) ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << "\n";
        return 2;
    }
}
