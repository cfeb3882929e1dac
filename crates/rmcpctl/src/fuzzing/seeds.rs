// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inputs to begin with: what the parsers read on a machine.

/// Logs: a fault of Linux 7.3, one of an older kernel, in a journal, and words of ROCm's runtime.
pub(super) fn logs() -> Vec<Vec<u8>> {
    let fault = "amdgpu 0000:03:00.0: [gfxhub] page fault (src_id:0 ring:24 vmid:3 pasid:32770)\n\
                 amdgpu 0000:03:00.0:  Process python3 pid 4242 thread python3 pid 4243\n\
                 amdgpu 0000:03:00.0:   in page starting at address 0x0000000220005000 from client 0x1b (UTCL2)\n\
                 amdgpu 0000:03:00.0: GCVM_L2_PROTECTION_FAULT_STATUS:0x00301A30\n\
                 amdgpu 0000:03:00.0: \\x09 Faulty UTCL2 client ID: SDMA0 (0xd)\n\
                 gmc_v10_0_process_interrupt: 3 callbacks suppressed\n";
    let old = "[   12.5] amdgpu 0000:0a:00.0: amdgpu: [mmhub0] no-retry page fault (src_id:0 ring:0 vmid:1 pasid:1, for \
               process a thread pid 1 thread b pid 2)\n\
               [   12.5] amdgpu 0000:0a:00.0: amdgpu: MMVM_L2_PROTECTION_FAULT_STATUS:0x0014173F\n";
    let journal = "{\"MESSAGE\":\"amdgpu 0000:03:00.0: ring gfx_0.0.0 timeout, signaled seq=1, emitted seq=2\",\
                   \"_SOURCE_MONOTONIC_TIMESTAMP\":\"12000345\"}\n{\"MESSAGE\":[91,103]}\n";
    let others = "3,77,12000345,-;kfd kfd: amdgpu: skipped device 1002:731f, PCI rejects atomics 127<145\n\
                  Nov 25 12:00:00 box kernel: [    1.5] amdgpu 0000:03:00.0: GPU reset(3) failed with error -62\n\
                  Memory access fault by GPU node-1 (Agent handle: 0x5) on address 0x5. Reason: Page not present.\n";
    [fault, old, journal, others]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// A bundle of code objects for these chips.
fn bundle(chips: &[&str]) -> Vec<u8> {
    let mut bytes = b"__CLANG_OFFLOAD_BUNDLE__".to_vec();
    bytes.extend((chips.len() as u64).to_le_bytes());
    for chip in chips {
        let name = format!("hipv4-amdgcn-amd-amdhsa--{chip}");
        for number in [512, 16, name.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(name.as_bytes());
    }
    bytes
}

/// A bundle as zlib packs it that does not compress: one stored block.
fn stored(bundle: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bundle.len()).unwrap_or(0);
    let mut bytes = b"CCOB\x02\0\0\0".to_vec();
    bytes.extend((u32::from(length) + 40).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0x78, 0x01, 0x01]);
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(bundle);
    bytes
}

/// The smallest library: header, three sections' descriptions, their names, and what `.hip_fatbin` holds.
pub(super) fn library(fatbin: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.shstrtab\0.hip_fatbin\0";
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(0x28, 0);
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 1, 0]);
    bytes.resize(128, 0);
    let start = 256_u64 + NAMES.len() as u64;
    for (name, kind, offset, size) in [
        (1_u32, 3_u32, 256, NAMES.len()),
        (11, 1, start, fatbin.len()),
    ] {
        let begin = bytes.len();
        bytes.extend(name.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.resize(begin + 24, 0);
        bytes.extend(offset.to_le_bytes());
        bytes.extend((size as u64).to_le_bytes());
        bytes.resize(begin + 64, 0);
    }
    bytes.extend(NAMES);
    bytes.extend(fatbin);
    bytes
}

/// Libraries, and bundles without one around them.
pub(super) fn libraries() -> Vec<Vec<u8>> {
    let plain = bundle(&["gfx1010", "gfx90a:xnack-"]);
    let packed = stored(&plain);
    vec![library(&plain), library(&packed), plain, packed]
}

/// Files of settings, and a configuration space with a PCI Express capability.
pub(super) fn files() -> Vec<Vec<u8>> {
    let mut config = vec![0; 128];
    config[0x06] = 0x10;
    config[0x34] = 0x40;
    config[0x40..0x44].copy_from_slice(&[0x10, 0, 0x42, 0]);
    config[0x64] = 0xc0;
    config[0x68] = 0x40;
    let texts: [&[u8]; 6] = [
        b"root=/dev/sda1 amdgpu.vm-fragment-size=9 amdgpu.dc amdgpu.x=\"1 2\" -- a\n",
        b"options amdgpu noretry=0 \\\n mtype_local=1\n",
        b"HSA_XNACK=1\0HOME=/\0HSA_OVERRIDE_GFX_VERSION=10.3.0\0",
        b"ann:x:1000:1000::/srv/ann:/bin/sh\nrender:x:105:ann,bob\nann:x:1000:\n",
        b"hip: Optional[str] = '6.2.41133'\nexport HSA_XNACK='1' # x\n",
        b"Package: rocm-core\nStatus: install ok installed\nVersion: 6.2\n\n660 root render gfx90a:xnack-",
    ];
    let texts = texts.iter().map(|text| text.to_vec());
    texts.chain([config]).collect()
}

/// What the module and the kernel say, and a recording.
pub(super) fn ctl_files() -> Vec<Vec<u8>> {
    let state = "armed\nhooks: gmc_v10_0_get_vm_pte\ndevice 0000:03:00.0: GC 10.1.10, policy applies\n\
                 noretry: 0 was set before amdgpu's init\n";
    let counters = "0000:03:00.0 mappings 12\n0000:03:00.0 requested default written uc 7\n\
                    0000:03:00.0 fragment asked largest none\n";
    let client =
        "pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t2\ndrm-pdev:\t0000:03:00.0\npasid:\t2\n";
    let tables = "pd_address: 0x200001\nmax_pfn: 0x1000000000\nnum_level: 0x3\nblock_size: 0x9\n\
                  fragment_size: 0x9\n";
    let names = "731F,\tC1,\tAMD Radeon RX 5700 XT\n1002  AMD\n\t731f  Navi 10\n";
    let options = "options rmcp mtype=uc \\\n clients=compute\n";
    let recording = "rmcpctl recording 1\nfile a/b\n|x\\x00\n:y\nlink c a\nfolder d\ndenied e\n";
    [state, counters, client, tables, names, options, recording]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Tables of four levels behind the address of their root, and tables that lead back to themselves.
pub(super) fn walks() -> Vec<Vec<u8>> {
    let vram = |entries: &[(usize, u64)]| {
        let mut bytes = 1_u64.to_le_bytes().to_vec();
        bytes.resize(8 + 0x4000, 0);
        for (at, raw) in entries {
            if let Some(place) = bytes.get_mut(8 + at..16 + at) {
                place.copy_from_slice(&raw.to_le_bytes());
            }
        }
        bytes
    };
    let leaf = 0x0003_0000_0ff9_0271;
    vec![
        vram(&[
            (0, 0x1001),
            (0x1008, 0x2001),
            (0x2010, 0x3001),
            (0x2018, 0x0040_0000_0fc0_04f1),
            (0x3020, leaf),
        ]),
        vram(&[(0, 0x1001), (0x1000, 0x1001)]),
    ]
}

/// A saved walk.
pub(super) fn saved() -> Vec<Vec<u8>> {
    let text = "{\"format\":\"rmcpctl walk 1\",\"client\":{\"pid\":2,\"name\":\"a\",\"client\":2,\
                \"gpu\":\"0000:03:00.0\",\"pasid\":2},\"tables\":{\"root\":1,\"max_pfn\":68719476736,\"levels\":3,\
                \"block_size\":9,\"fragment_size\":9},\"entries\":[[\"000100000000\",\"Ptb\",\"000300000ff90271\"]]}";
    vec![text.as_bytes().to_vec()]
}

/// Ladders: the usual one, and one of every form that a step can have.
pub(super) fn ladders() -> Vec<Vec<u8>> {
    let forms = "step = [{ name = \"a\", switches = \"devices=0000:03:00.0 clients=all\" }]\n";
    let long =
        "[[step]]\nname = 'b'\n[step.environment]\nA = \"\"\"\nx\"\"\"\n\"B C\" = \"\\u0007\"\n";
    let all = [crate::r#try::ladder::DEFAULT, forms, long];
    all.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Records of a `try` that was killed.
pub(super) fn records() -> Vec<Vec<u8>> {
    let record = r#"{"format":"rmcpctl try record 1","owner":{"pid":500,"start":77},"found":{"clients":"compute",
        "devices":"0000:01:00.0","enable":"N","fragment_size":"7","mtype":"uc","mtype_scope":"vram","mtype_strict":"Y"},
        "command":{"pid":600,"start":1001}}"#;
    vec![record.as_bytes().to_vec()]
}

/// What workloads say that pass, that compute something wrong, that crash, and that find no PyTorch.
pub(super) fn workloads() -> Vec<Vec<u8>> {
    let step = "rmcpctl: {\"step\": \"3x3, forward\"}\n";
    let good = "rmcpctl: {\"check\": \"sum\", \"fine\": true, \"error\": 1e-9}\n";
    let bad =
        "rmcpctl: {\"check\": \"sum\", \"fine\": false, \"error\": 0.5, \"what\": \"9 of 10\"}\n";
    let done = "rmcpctl: {\"done\": true}\n";
    let torch = "rmcpctl: {\"torch\": {\"version\": \"2.6\", \"rocm\": null, \"gpu\": null}}\n";
    let missing = "rmcpctl: {\"missing\": \"No module named 'torch'\"}\n";
    [
        ["\x02", step, good, done].concat(),
        ["\x02", step, good, bad, done, "\0a warning\n"].concat(),
        ["\x19", step, good, "\0Fatal Python error: Aborted\n"].concat(),
        ["\x06", step, "\0Traceback\nValueError: on purpose\n"].concat(),
        ["\x00", torch, step].concat(),
        ["\x02", missing].concat(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
