"""Trained networks as ONNX graphs: packs, which any gate vector runs from, and models for other runtimes.

This package needs torch, onnx and onnxruntime. What runs a pack is `dld.packs`, which needs none of torch and onnx.
"""
