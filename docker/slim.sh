#!/bin/sh
# Takes out of site-packages what nothing at run time can ask for; docker/README.md says why each is safe:
#   slim.sh SITE_PACKAGES
# Metadata (*.dist-info) stays, so that `pip check`, `pip list` and the SBOM tell what was installed.
set -eu
cd "$1"

# For compilers, and there is none in the image: headers, sources, static and device libraries, protoc.
rm -rf torch/include torch/share torch/bin/protoc*
find . -path '*/nvidia/*' -type d -name include -prune -exec rm -rf {} +
find . \( -name '*.a' -o -name '*.bc' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.cu' -o -name '*.cuh' \) -delete

# Triton compiles GPU kernels for torch.compile, and calls a C compiler for that; cuda-bindings are for the same.
rm -rf triton cuda _cuda_bindings_redirector.*

# Libraries that no other library is linked with or loads by name.
find . \( -name 'libnvrtc*.alt.so*' -o -name 'libcusolverMg.so*' \) -delete

# cuSPARSELt multiplies matrices of which two in four numbers are zero, a prototype in torch that no classifier here
# uses. libtorch_cuda is linked with it, so a library of that name stays: its functions answer
# CUSPARSE_STATUS_NOT_SUPPORTED, which torch makes into an error.
sparse=nvidia/cusparselt/lib/libcusparseLt.so.0
[ ! -e $sparse ] || readelf --wide --dyn-syms torch/lib/libtorch_cuda.so |
    awk '$7 == "UND" && $8 ~ /^cusparseLt/ { print "int " $8 "(void) { return 10; }" }' |
    gcc -shared -nostdlib -Os -s -Wl,-soname,libcusparseLt.so.0 -x c -o $sparse -

# OpenVINO runs on the CPU here, and takes models from torch or its own files.
(
    cd openvino
    rm -rf include cmake libs/tbb.pc libs/cache.json libs/libopenvino_c.so.* libs/libopenvino_intel_[gn]pu_plugin.so
    for format in gguf jax onnx paddle tensorflow tensorflow_lite; do
        rm -rf libs/libopenvino_${format}_frontend.so.* frontend/$format
    done
)

# Tests that their packages do not import (numpy does import its own, so numpy keeps them).
rm -rf pandas/tests
find scipy sympy networkx sklearn -type d -name tests -prune -exec rm -rf {} +

# Symbols for debuggers; what is loaded into memory stays as it was. auditwheel edited the libraries in *.libs and
# those of torchvision, and what it edits does not always survive: tests/image loads every library that is left.
find . \( -path './*.libs' -o -path ./torchvision \) -prune -o -type f -name '*.so*' -exec strip --strip-unneeded {} +
