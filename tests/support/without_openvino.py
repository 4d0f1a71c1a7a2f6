"""The processes of `program`, where OpenVINO can convert no encoder: PyTorch runs each of them."""

import importlib
import sys

import program

from vision_recs.encoders import openvino_runtime


def refuse(*_):
    raise RuntimeError("no such operation")


if __name__ == "__main__":
    openvino_runtime.convert = refuse
    sys.argv.append("torch")
    # the framework of the encoder, which takes longer to import than the encoder to run
    importlib.import_module("timm")
    program.main()
