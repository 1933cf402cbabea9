"""Networks in eight bits: clips that ranges are measured on, layers that stay in float32, and integers throughout.

[accuracy_control][clipshift.deployment.quantization.accuracy_control] lets nncf measure, quantize and take layers back;
[openvino][clipshift.deployment.quantization.openvino] and [onnx][clipshift.deployment.quantization.onnx] do it for the
two engines, the latter with the graph rules of [onnx_rules][clipshift.deployment.quantization.onnx_rules];
[calibration][clipshift.deployment.quantization.calibration] brings the clips. Only int8 exports import them: nncf is
slow to import, and an extra.
"""
