"""Networks in eight bits: clips that ranges are measured on, layers that stay in float32, and integers throughout.

[accuracy_control][clipshift.exporting.quantization.accuracy_control] lets nncf measure, quantize and take layers back;
[openvino][clipshift.exporting.quantization.openvino] and [onnx][clipshift.exporting.quantization.onnx] do it for the
two engines, the latter with the graph rules of [onnx_rules][clipshift.exporting.quantization.onnx_rules];
[calibration][clipshift.exporting.quantization.calibration] brings the clips. Only int8 exports import them: nncf is
slow to import, and an extra.
"""
