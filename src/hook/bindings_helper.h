/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel crate's own bindings lack. Kbuild runs bindgen on this file and takes only the
 * names that its allow list has; everything else comes from kernel::bindings.
 */
#include <linux/kprobes.h>
#include <uapi/drm/amdgpu_drm.h>
