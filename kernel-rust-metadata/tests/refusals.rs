// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each refusal is one sentence with the cure and its own exit status, and changes nothing.

use std::fs;

use crate::bench::{Bench, RELEASE, RUSTC};

#[test]
fn a_whole_machine_is_not_refused() {
    let bench = Bench::new();
    assert!(
        bench
            .run(&["check", RELEASE])
            .fine()
            .contains("can be built")
    );
    bench.untouched();
}

#[test]
fn wrong_words_are_refused() {
    let bench = Bench::new();
    assert_eq!(bench.run(&[]).status, Some(2));
    bench.run(&["bake"]).refused(2, &["bake", "--help"]);
    bench.run(&["build"]).refused(2, &["uname -r"]);
    bench.run(&["list", "--colour"]).refused(2, &["--colour"]);
    bench
        .run(&["build", "7.3.4", "7.3.5"])
        .refused(2, &["7.3.4", "7.3.5"]);
    for release in ["../..", "a b", ".", "a/b"] {
        bench.run(&["remove", release]).refused(2, &[release]);
    }
    bench
        .run(&["list", "--state", "/a b"])
        .refused(2, &["/a b"]);
    assert!(bench.run(&["--help"]).fine().contains("Exit status"));
    assert!(
        bench
            .run(&["--version"])
            .fine()
            .starts_with("kernel-rust-metadata ")
    );
    bench.untouched();
}

#[test]
fn a_kernel_without_headers_is_refused_with_their_package() {
    let bench = Bench::new();
    fs::remove_file(bench.at(&bench.headers_dir()).join(".config")).unwrap();
    bench
        .build()
        .refused(4, &[&format!("apt install linux-headers-{RELEASE}")]);
    bench.untouched();
}

#[test]
fn a_kernel_without_rust_is_refused() {
    let bench = Bench::new();
    bench.change(
        &format!("{}/.config", bench.headers_dir()),
        "CONFIG_RUST=y",
        "# CONFIG_RUST is not set",
    );
    for verb in ["build", "path", "check"] {
        bench
            .run(&[verb, RELEASE])
            .refused(3, &[RELEASE, "CONFIG_RUST is off", "7.2"]);
    }
    bench.untouched();
}

#[test]
fn another_rustc_is_refused_with_both_versions() {
    let bench = Bench::new();
    bench.write("rustc-version", "rustc 1.90.0 (1159e78c4 2025-09-14)\n");
    bench
        .build()
        .refused(5, &[RUSTC, "1.90.0", "apt install rustc", "RUSTC="]);
    bench.untouched();
}

#[test]
fn the_right_rustc_is_found_behind_a_wrong_one() {
    let bench = Bench::new();
    fs::create_dir(bench.at("rustup")).unwrap();
    fs::copy(bench.at("bin/rustc"), bench.at("rustup/rustc")).unwrap();
    bench.write("rustc-version", "rustc 1.90.0\n");
    bench.change(
        "rustup/rustc",
        "$top/rustc-version",
        "$top/../right-version",
    );
    bench.change(
        "rustup/rustc",
        "${0%/bin/*}",
        &bench.at("bin").display().to_string(),
    );
    bench.write("right-version", &format!("{RUSTC}\n"));
    bench.change("rustup/rustc", "$top/sysroot", "$top/../sysroot");
    let mut command = bench.command(&["build", RELEASE]);
    command.env("RUSTC", bench.at("rustup/rustc"));
    crate::bench::ended(command.spawn().unwrap()).fine();
    // The module's build gets that one too.
    let variables = fs::read_to_string(bench.overlay(".kernelvariables")).unwrap();
    assert!(
        variables.contains(&format!("RUSTC = {}\n", bench.at("rustup/rustc").display())),
        "{variables}"
    );
}

#[test]
fn every_missing_tool_is_named_in_one_command() {
    let bench = Bench::new();
    for (tool, package) in [
        ("bindgen", "bindgen"),
        ("pahole", "pahole"),
        ("flex", "flex"),
        ("bison", "bison"),
        ("bc", "bc"),
        ("python3", "python3"),
        ("openssl", "openssl"),
        ("make", "make"),
        ("xz", "xz-utils"),
        ("x86_64-linux-gnu-gcc-14", "gcc-14"),
    ] {
        bench.without(tool);
        bench.build().refused(4, &[tool, "apt install ", package]);
    }
    bench.build().refused(
        4,
        &["apt install make xz-utils flex bison bc python3 openssl bindgen pahole gcc-14"],
    );
    bench.untouched();
}

#[test]
fn missing_files_are_refused_with_their_package() {
    for (file, package) in [
        ("cinclude/stdlib.h", "libc6-dev"),
        ("cinclude/libelf.h", "libelf-dev"),
        ("cinclude/openssl/opensslv.h", "libssl-dev"),
        ("library/rustc-1.85.1/library/core/src/lib.rs", "rust-src"),
        ("linux-source-7.3.tar.xz", "--source"),
    ] {
        let bench = Bench::new();
        fs::remove_file(bench.at(file)).unwrap();
        bench.build().refused(4, &[package]);
        bench.untouched();
    }
}

#[test]
fn bindgen_without_libclang_is_refused() {
    let bench = Bench::new();
    bench.write("no-libclang", "");
    bench
        .build()
        .refused(4, &["libclang", "apt install libclang-dev"]);
    bench.untouched();
}

#[test]
fn sources_of_another_library_are_refused() {
    let bench = Bench::new();
    let link = bench.at("sysroot/lib/rustlib/src/rust");
    fs::remove_file(&link).unwrap();
    bench.write("library/rustc-1.84.0/library/core/src/lib.rs", "");
    std::os::unix::fs::symlink(bench.at("library/rustc-1.84.0"), &link).unwrap();
    bench
        .build()
        .refused(5, &["rustc-1.84.0", "1.85.1", "apt install rust-src"]);
    bench.untouched();
}

#[test]
fn a_source_package_of_another_version_is_refused_with_both() {
    let bench = Bench::new();
    bench.write(
        "packages",
        "linux-source-7.3 7.3.5-1~bpo13+1 linux-source-7.3.tar.xz\n",
    );
    bench.build().refused(
        5,
        &[
            "7.3.5-1~bpo13+1",
            "7.3.4-1~bpo13+1",
            "apt install linux-source-7.3=7.3.4-1~bpo13+1",
        ],
    );
    bench.untouched();
}

#[test]
fn a_source_with_other_content_is_refused() {
    for (file, text) in [
        ("include/linux/a.h", "int b;\n"),
        ("include/linux/more.h", ""),
    ] {
        let bench = Bench::new();
        bench.write(&format!("linux-source-7.3/{file}"), text);
        bench.source();
        bench.build().refused(
            5,
            &[
                "is not the source of the headers",
                "apt install linux-source-7.3",
            ],
        );
        bench.untouched();
    }
}

#[test]
fn a_broken_tarball_is_refused() {
    let bench = Bench::new();
    bench.write("linux-source-7.3.tar.xz", "no archive");
    bench.build().refused(7, &["unpacking"]);
    bench.untouched();
}

#[test]
fn too_little_space_is_refused_before_anything_is_done() {
    let bench = Bench::new();
    bench.write("free", "1000000");
    bench.build().refused(6, &["976 MiB", "TMPDIR", "tmp"]);
    bench.untouched();
    assert!(!bench.at("made").exists());
}

#[test]
fn a_disk_that_becomes_full_is_named() {
    let bench = Bench::new();
    bench.write(
        "make-fails",
        &format!("echo 100 >{}", bench.at("free").display()),
    );
    bench.build().refused(6, &["became full"]);
    bench.untouched();
}

#[test]
fn a_failed_build_shows_its_last_lines() {
    let bench = Bench::new();
    bench.write("make-fails", "");
    let ended = bench.build();
    ended.refused(7, &["make", "prepare"]);
    assert!(ended.err.contains("rust/core.rs: no"), "{}", ended.err);
    bench.untouched();
}

#[test]
fn a_changed_configuration_is_refused_with_both_lines() {
    let bench = Bench::new();
    let config = bench.read(&format!("{}/.config", bench.headers_dir()));
    bench.write(
        "new-config",
        &config.replace("# CONFIG_KUNIT is not set", "CONFIG_KUNIT=y"),
    );
    bench
        .build()
        .refused(5, &["# CONFIG_KUNIT is not set", "CONFIG_KUNIT=y"]);
    bench.untouched();
}

#[test]
fn a_symbol_with_another_name_is_refused() {
    let bench = Bench::new();
    // The same function out of a crate with another hash.
    bench.change("exports", "CskSgBy0nCqVo_4core", "CskSgBy0nCqVp_4core");
    bench.build().refused(
        5,
        &[
            "exports 2 Rust symbols",
            "1 of them",
            "_RNvNtCskSgBy0nCqVo_4core9panicking5panic",
        ],
    );
    bench.untouched();
}

#[test]
fn a_kernel_that_exports_no_rust_symbol_cannot_be_verified() {
    let bench = Bench::new();
    bench.write(
        &format!("{}/Module.symvers", bench.headers_dir()),
        "0x0\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n",
    );
    bench.build().refused(5, &["cannot be verified"]);
    bench.untouched();
}
