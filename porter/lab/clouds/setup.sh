#!/bin/bash
# Fetch what the lab's clouds are made of, after porter/lab/setup.sh. Safe to repeat: what is done
# already is recognised at once.
#
#   setup.sh              for all clouds
#   setup.sh azure gcp    for these
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/setup"
if [ $# -eq 0 ]; then set -- *.sh; fi
for cloud in "$@"; do
    bash "./${cloud%.sh}.sh"
done
