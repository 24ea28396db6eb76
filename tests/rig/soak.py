# SPDX-License-Identifier: LGPL-2.1-or-later
"""The long grids: `make test` runs a sample of them, and GODWIT_SOAK=ROUNDS (`make soak`) all of them."""

import os

ROUNDS = int(os.environ.get("GODWIT_SOAK") or "0")  # 0: the sample
REASON = "a long grid: GODWIT_SOAK says how many rounds of it (make soak)"
