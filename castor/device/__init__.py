"""Models on a device's CPU: 4-bit graphs for onnxruntime, and the verbs of an engine over them."""
