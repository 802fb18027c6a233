"""Packs: exported models, as directories that run any gate vector without torch.

`dld.packs.metadata` reads and checks what `dld export` writes, `dld.packs.chain` runs the graphs. Only numpy,
onnxruntime and sentencepiece are needed.
"""
