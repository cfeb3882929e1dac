# SPDX-License-Identifier: MIT OR Apache-2.0
"""Never ends."""
step("wait")
import threading
threading.Event().wait()
