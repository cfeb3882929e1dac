// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is kept, when it is trusted, and how it goes.

use std::fs;
use std::path::Path;

use crate::bench::{Bench, RELEASE, RUSTC, ended};

#[test]
fn what_is_kept_links_the_headers_and_holds_the_metadata() {
    let bench = Bench::new();
    let said = bench.build();
    assert!(
        said.fine().contains("2 of 2 exported Rust symbols match"),
        "{}",
        said.out
    );
    assert!(said.out.contains("s in all"), "{}", said.out);
    let headers = bench.at(&bench.headers_dir());
    for name in [
        ".config",
        "Module.symvers",
        "include",
        "scripts/pahole-flags.sh",
    ] {
        assert_eq!(
            fs::read_link(bench.overlay(name)).unwrap(),
            headers.join(name),
            "{name}"
        );
    }
    for name in ["core.rmeta", "kernel.rmeta", "bindings.rmeta", "macros.so"] {
        assert!(
            bench.overlay(&format!("rust/lib{name}")).is_file(),
            "{name}"
        );
    }
    assert!(!bench.overlay("rust/core.o").exists());
    assert_eq!(
        fs::read_to_string(bench.overlay("scripts/target.json")).unwrap(),
        "{}\n"
    );
    let makefile = fs::read_to_string(bench.overlay("Makefile")).unwrap();
    let common = bench.at("usr/src/linux-headers-7.3.4+deb13-common/Makefile");
    assert!(
        makefile.ends_with(&format!("include {}\n", common.display())),
        "{makefile}"
    );
    let path = bench.path();
    assert_eq!(
        Path::new(path.fine().trim_end()),
        bench.overlay("").components().as_path()
    );
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_source_named_from_the_working_folder_is_found() {
    let bench = Bench::new();
    let mut command = bench.command(&["build", RELEASE]);
    command
        .args(["--source", "linux-source-7.3.tar.xz"])
        .current_dir(bench.at(""));
    ended(command.spawn().unwrap()).fine();
    bench.path().fine();
}

#[test]
fn another_revision_of_the_compilers_package_is_told_and_taken() {
    let bench = Bench::new();
    let here = "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-20) 14.2.0";
    bench.write("gcc-version", &format!("{here}\n"));
    let said = bench.build();
    assert!(
        said.fine().contains(here) && said.out.contains("14.2.0-19"),
        "{}",
        said.out
    );
    bench.path().fine();
}

#[test]
fn another_assembler_and_linker_are_taken_and_nothing_that_follows_from_them() {
    let bench = Bench::new();
    let config = format!("{}/.config", bench.headers_dir());
    let plain = std::fs::read_to_string(bench.at(&config)).unwrap();
    let with = |versions: &str| format!("{plain}{versions}");
    bench.write(
        &config,
        &with("CONFIG_AS_VERSION=24700\nCONFIG_LD_VERSION=24700\n"),
    );
    let other = "CONFIG_AS_VERSION=24750\nCONFIG_LD_VERSION=24750\n";
    bench.write(
        "new-config",
        &with(&format!("{other}CONFIG_AS_HAS_NEW=y\n")),
    );
    bench.build().refused(5, &["CONFIG_AS_HAS_NEW=y"]);
    bench.untouched();
    bench.write("new-config", &with(other));
    bench.build().fine();
    bench.path().fine();
}

#[test]
fn make_reads_the_overlay_as_its_output_folder() {
    let bench = Bench::new();
    bench.build().fine();
    fs::write(
        bench.at("usr/src/linux-headers-7.3.4+deb13-common/Makefile"),
        "-include $(KBUILD_OUTPUT)/.kernelvariables\nall:\n\t@echo $(KBUILD_OUTPUT) $(ARCH) $(RUSTC)\n",
    )
    .unwrap();
    let output = std::process::Command::new("make")
        .args(["--no-print-directory", "-C"])
        .arg(bench.overlay(""))
        .env_remove("MAKEFLAGS")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!(
            "{} x86 {}\n",
            bench
                .overlay("")
                .display()
                .to_string()
                .trim_end_matches('/'),
            bench.at("bin/rustc").display()
        )
    );
}

#[test]
fn a_second_build_does_nothing() {
    let bench = Bench::new();
    bench.build().fine();
    assert!(bench.build().fine().contains("is kept in"));
    assert_eq!(bench.read("made"), "make-olddefconfig\nmake-prepare\n");
}

#[test]
fn headers_with_metadata_are_taken_as_they_are() {
    let bench = Bench::new();
    for name in [
        "libcore.rmeta",
        "libkernel.rmeta",
        "libbindings.rmeta",
        "libmacros.so",
    ] {
        bench.write(&format!("{}/rust/{name}", bench.headers_dir()), "x");
    }
    // Nothing else is needed then, not even a compiler.
    bench.without("rustc");
    assert!(bench.build().fine().contains("already"));
    assert!(bench.run(&["check", RELEASE]).fine().contains("already"));
    let path = bench.path();
    assert_eq!(
        Path::new(path.fine().trim_end()),
        bench.at(&bench.headers_dir())
    );
    bench.untouched();
    fs::remove_file(bench.at(&bench.headers_dir()).join("rust/libcore.rmeta")).unwrap();
    assert_eq!(bench.path().status, Some(1));
}

#[test]
fn nothing_kept_has_no_path() {
    let bench = Bench::new();
    bench
        .path()
        .refused(1, &[&format!("kernel-rust-metadata build {RELEASE}")]);
    bench.untouched();
}

/// After the change what is kept is trusted no more, and the next build makes it anew.
fn stale(bench: &Bench, change: impl Fn(&Bench)) {
    bench.path().fine();
    change(bench);
    bench.path().refused(1, &["build"]);
    assert!(bench.build().fine().contains("verified"));
}

/// A machine on which the metadata was built.
fn built() -> Bench {
    let bench = Bench::new();
    bench.build().fine();
    bench
}

#[test]
fn a_kernel_updated_under_the_same_name_is_built_anew() {
    let bench = built();
    stale(&bench, |bench| {
        bench.change(
            &format!("{}/include/generated/package.h", bench.headers_dir()),
            "7.3.4-1~bpo13+1",
            "7.3.4-2~bpo13+1",
        );
        bench.write(
            "packages",
            "linux-source-7.3 7.3.4-2~bpo13+1 linux-source-7.3.tar.xz\n",
        );
    });
    for (file, from, to) in [
        (".config", "# CONFIG_KUNIT is not set", "CONFIG_KUNIT=m"),
        ("Module.symvers", "printk", "printc"),
        ("Makefile", "KBUILD_OUTPUT=", "KBUILD_OUTPUT ="),
    ] {
        stale(&bench, |bench| {
            bench.change(&format!("{}/{file}", bench.headers_dir()), from, to)
        });
    }
    bench.path().fine();
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn headers_with_other_entries_are_linked_anew() {
    let bench = built();
    stale(&bench, |bench| {
        bench.write(&format!("{}/scripts/new", bench.headers_dir()), "")
    });
    stale(&bench, |bench| {
        bench.write(&format!("{}/new", bench.headers_dir()), "")
    });
    bench.path().fine();
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn damage_is_noticed() {
    let bench = built();
    for name in [
        "rust/libcore.rmeta",
        "rust/libmacros.so",
        "scripts/target.json",
        "Makefile",
        ".kernelvariables",
        ".stamp",
    ] {
        stale(&bench, |bench| {
            fs::remove_file(bench.overlay(name)).unwrap()
        });
        stale(&bench, |bench| {
            fs::write(bench.overlay(name), "half").unwrap()
        });
    }
    bench.path().fine();
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_replaced_compiler_is_noticed() {
    let bench = Bench::new();
    bench.build().fine();
    bench.write("rustc-version", "rustc 1.90.0\n");
    bench.path().refused(1, &["build"]);
    bench.build().refused(5, &[RUSTC, "1.90.0"]);
    bench.write("rustc-version", &format!("{RUSTC}\n"));
    bench.path().fine();
}

#[test]
fn a_failed_rebuild_leaves_no_overlay_that_is_trusted() {
    let bench = Bench::new();
    bench.build().fine();
    bench.change(
        &format!("{}/Module.symvers", bench.headers_dir()),
        "4core",
        "5core",
    );
    bench.build().refused(5, &["5core"]);
    bench.path().refused(1, &["build"]);
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn kept_kernels_are_listed_removed_and_pruned() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["list"]).fine(), "");
    bench.run(&["prune"]).fine();
    bench.run(&["remove", RELEASE]).fine();
    bench.build().fine();
    assert!(
        bench
            .run(&["list"])
            .fine()
            .starts_with(&format!("{RELEASE} "))
    );
    bench.run(&["prune"]).fine();
    bench.path().fine();
    // Its headers go.
    fs::rename(bench.at("usr/src"), bench.at("usr/gone")).unwrap();
    assert!(bench.run(&["list"]).fine().contains("its headers are gone"));
    assert!(bench.run(&["prune"]).fine().contains(RELEASE));
    bench.untouched();
    fs::rename(bench.at("usr/gone"), bench.at("usr/src")).unwrap();
    bench.build().fine();
    assert!(bench.run(&["remove", RELEASE]).fine().contains(RELEASE));
    bench.untouched();
}
