# Sourced by the tools: the virtual environment that they share, made on first use.

PYTHON=${PYTHON:-python3}
CONSTRAINTS=constraints/py311-cpu.txt

# install_into_venv WHAT: installs the project (`.` or `.[dev]`) unless that is done already.
# A stamp holds what was asked for and a hash of the files that decide the outcome.
install_into_venv() {
    local what=$1 stamp=.venv/.installed wanted
    wanted="$what $(cat pyproject.toml "$CONSTRAINTS" | sha256sum)"
    if [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp"; then
        return
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "expected Python 3.11 or later, got $("$PYTHON" --version) (hint: PYTHON=python3.12 $0)" >&2
        exit 1
    }
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    echo "Installing into .venv (once, a few minutes) …" >&2
    # First torch alone: with the constraint, pip takes the build that is meant for this machine.
    .venv/bin/python -m pip install --quiet --constraint "$CONSTRAINTS" torch
    .venv/bin/python -m pip install --quiet --constraint "$CONSTRAINTS" --editable "$what"
    echo "$wanted" >>"$stamp"
}
