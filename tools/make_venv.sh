#!/bin/sh
# Makes or updates .venv: the project (editable) and its development tools.
# uv does it in seconds, pip in minutes; uv is installed into .venv where the machine has none.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
works() { "$@" >/dev/null 2>&1; }
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    # Tried by running them: a version manager's shim exists for versions that it does not provide.
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
        if works "$python" -c "$new_enough"; then
            echo "$python"
            return
        fi
    done
    say "error: wavediff needs Python 3.11 or newer and there is none${PYTHON:+ at $PYTHON}: install it, or name it by make PYTHON=/path/to/python3 ..."
    return 1
}

uv=
if works uv --version; then uv=uv; fi

if ! works .venv/bin/python -c "$new_enough"; then
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    if [ -n "$uv" ] && "$uv" venv --quiet --python "$python" .venv; then
        :
    elif ! "$python" -m venv .venv; then
        rm -rf .venv
        say "error: $python cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt install python3-venv) or uv."
        exit 1
    fi
fi

pip() {
    works .venv/bin/python -m pip --version || .venv/bin/python -m ensurepip >&2
    .venv/bin/python -m pip --disable-pip-version-check install --quiet "$@"
}

if [ -z "$uv" ]; then
    if works .venv/bin/uv --version || pip uv; then uv=.venv/bin/uv; fi
fi

# pesq is built from source.
extra=dev
has_headers='import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))'
if ! works "${CC:-cc}" --version || ! works .venv/bin/python -c "$has_headers"; then
    say "no C compiler with Python's headers here: PESQ is left out, its tests are skipped"
    extra=tests
fi

say "installing wavediff into .venv (PyTorch is large: the first time takes a while)"
if [ -n "$uv" ]; then
    "$uv" pip install --quiet --python .venv/bin/python -e ".[$extra]" && exit
    say "uv could not do it: trying pip"
fi
pip -e ".[$extra]" || {
    say "error: the packages could not be installed (see above): check the network and run the same command again."
    exit 1
}
