// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The type information reader and the prototype check, on small files that are put together here
//! from the layout in the kernel's `include/uapi/linux/btf.h`.

mod writer;

use proptest::prelude::*;
use rmcp_logic::logic::btf::{Btf, Error};
use rmcp_logic::logic::prototype::{Param, Prototype, Returns};
use writer::*;

const EXPECTED: Prototype = Prototype {
    name: "gmc_v10_0_get_vm_pte",
    returns: Returns::Nothing,
    params: &[
        Param::Struct("amdgpu_device"),
        Param::Struct("amdgpu_vm"),
        Param::Struct("amdgpu_bo"),
        Param::Unsigned(4),
        Param::PointerToUnsigned(8),
    ],
};

/// A vmlinux with `u32` and `u64` as the kernel has them: typedefs of typedefs of an integer.
struct Base {
    writer: Writer,
    u32: u32,
    u64: u32,
    int: u32,
}

fn base() -> Base {
    let mut writer = Writer::new();
    // More types than the reader has way marks.
    for number in 0..300 {
        writer.structure(&format!("filler_{number}"));
    }
    let int = writer.signed("int", 4);
    let word = writer.unsigned("unsigned int", 4);
    let word = writer.add("__u32", TYPEDEF, 0, word, &[]);
    let u32 = writer.add("u32", TYPEDEF, 0, word, &[]);
    let long = writer.unsigned("unsigned long long", 8);
    let long = writer.add("__u64", TYPEDEF, 0, long, &[]);
    let u64 = writer.add("u64", TYPEDEF, 0, long, &[]);
    Base {
        writer,
        u32,
        u64,
        int,
    }
}

/// The verdict on a module in which `build` makes the parameters of the function.
fn verdict(build: impl FnOnce(&mut Writer, &Base) -> (u32, Vec<u32>)) -> Result<(), String> {
    let base = base();
    let mut module = Writer::split_from(&base.writer);
    let (returns, params) = build(&mut module, &base);
    module.function("amdgpu_other", 0, &[]);
    module.function(EXPECTED.name, returns, &params);
    let (base, module) = (base.writer.file(), module.file());
    let btf = Btf::split(&base, &module).unwrap();
    EXPECTED.check(&btf).map_err(|why| why.to_string())
}

fn stock_params(module: &mut Writer, base: &Base) -> Vec<u32> {
    vec![
        module.pointer_to_struct("amdgpu_device"),
        module.pointer_to_struct("amdgpu_vm"),
        module.pointer_to_struct("amdgpu_bo"),
        base.u32,
        module.pointer(base.u64),
    ]
}

const WANTED: &str =
    "expected `void (struct amdgpu_device *, struct amdgpu_vm *, struct amdgpu_bo *, u32, u64 *)`";

#[test]
fn stock_prototype_is_accepted() {
    assert_eq!(
        verdict(|module, base| (0, stock_params(module, base))),
        Ok(())
    );
}

#[test]
fn declared_structs_and_const_pointers_are_accepted() {
    let verdict = verdict(|module, base| {
        let mut params = stock_params(module, base);
        let declared = module.add("amdgpu_vm", FWD, 0, 0, &[]);
        let constant = module.add("", CONST, 0, declared, &[]);
        params[1] = module.pointer(constant);
        (0, params)
    });
    assert_eq!(verdict, Ok(()));
}

#[test]
fn older_prototype_is_refused_naming_both() {
    let verdict = verdict(|module, base| {
        let params = vec![
            module.pointer_to_struct("amdgpu_device"),
            module.pointer_to_struct("amdgpu_bo_va_mapping"),
            module.pointer(base.u64),
        ];
        (0, params)
    });
    let found = "void (struct amdgpu_device *, struct amdgpu_bo_va_mapping *, u64 *)";
    let text = format!("gmc_v10_0_get_vm_pte is `{found}`, {WANTED}");
    assert_eq!(verdict, Err(text));
}

#[test]
fn each_single_difference_is_refused() {
    type Change = fn(&mut Writer, &Base, &mut Vec<u32>) -> u32;
    let changes: [(&str, Change); 9] = [
        ("u32 (", |_, base, _| base.u32),
        ("s32, u64 *)", |_, base, params| {
            params[3] = base.int;
            0
        }),
        ("u64, u64 *)", |_, base, params| {
            params[3] = base.u64;
            0
        }),
        ("u32, u32 *)", |module, base, params| {
            params[4] = module.pointer(base.u32);
            0
        }),
        ("u32, u64)", |_, base, params| {
            params[4] = base.u64;
            0
        }),
        ("u32, void *)", |module, _, params| {
            params[4] = module.pointer(0);
            0
        }),
        ("u32, u64 *, u32)", |_, base, params| {
            params.push(base.u32);
            0
        }),
        (
            "struct amdgpu_vm *, struct amdgpu_vm *, u32",
            |_, _, params| {
                params[2] = params[1];
                0
            },
        ),
        ("u32, (pointer) *)", |module, _, params| {
            let last = params[4];
            params[4] = module.pointer(last);
            0
        }),
    ];
    for (shown, change) in changes {
        let verdict = verdict(|module, base| {
            let mut params = stock_params(module, base);
            let returns = change(module, base, &mut params);
            (returns, params)
        });
        let text = verdict.expect_err(shown);
        assert!(text.contains(shown), "{text:?} does not show {shown:?}");
        assert!(text.ends_with(WANTED), "{text:?}");
    }
}

#[test]
fn absent_function_is_told_as_such() {
    let base = base();
    let mut module = Writer::split_from(&base.writer);
    module.function("gmc_v10_0_get_vm_pte_new", 0, &[]);
    module.function("gmc_v10_0_get_vm_pt", 0, &[]);
    let (base, module) = (base.writer.file(), module.file());
    let btf = Btf::split(&base, &module).unwrap();
    let text = EXPECTED.check(&btf).err().unwrap().to_string();
    let expected = "the type information (BTF) does not describe gmc_v10_0_get_vm_pte";
    assert_eq!(text, expected);
}

#[test]
fn one_of_two_functions_of_the_name_that_differs_is_enough() {
    let base = base();
    let mut module = Writer::split_from(&base.writer);
    let params = stock_params(&mut module, &base);
    module.function(EXPECTED.name, 0, &params);
    module.function(EXPECTED.name, 0, &params[..4]);
    let (base, module) = (base.writer.file(), module.file());
    assert!(
        EXPECTED
            .check(&Btf::split(&base, &module).unwrap())
            .is_err()
    );
}

#[test]
fn aliases_in_a_circle_end() {
    let verdict = verdict(|module, base| {
        let mut params = stock_params(module, base);
        params[3] = module.add("circle", TYPEDEF, 0, module.next, &[]);
        (0, params)
    });
    assert!(verdict.is_err_and(|text| text.contains(", ?, u64 *)")));
}

#[test]
fn broken_files_are_named() {
    let good = base().writer.file();
    assert_eq!(Btf::new(&good[..23]).err(), Some(Error::NoHeader));
    assert_eq!(Btf::new(&[]).err(), Some(Error::NoHeader));
    assert_eq!(
        Btf::new(&good[..good.len() - 1]).err(),
        Some(Error::Section)
    );
    let with = |at: usize, byte| {
        let mut file = good.clone();
        file[at] = byte;
        file
    };
    assert_eq!(Btf::new(&with(0, 0)).err(), Some(Error::Magic(0xeb00)));
    assert_eq!(Btf::new(&with(2, 7)).err(), Some(Error::Version(7)));
    assert_eq!(Btf::new(&with(24 + 7, 99)).err(), Some(Error::Kind(99)));
    assert_eq!(Btf::new(&with(24 + 6, 0xff)).err(), Some(Error::Cut));
}

fn any_module() -> impl Strategy<Value = Vec<u8>> {
    let mut module = Writer::split_from(&base().writer);
    let params = stock_params(&mut module, &base());
    module.function(EXPECTED.name, 0, &params);
    let file = module.file();
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8);
    changes.prop_map(move |changes| {
        let mut file = file.clone();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file
    })
}

proptest! {
    /// Nothing to assert beyond the verdict being one: a panic or a hang is the failure.
    #[test]
    fn damaged_files_never_panic(module in any_module()) {
        let base = base().writer.file();
        if let Ok(btf) = Btf::split(&base, &module) {
            if let Err(why) = EXPECTED.check(&btf) {
                prop_assert!(!why.to_string().is_empty());
            }
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
        let mut file = Writer::new().file();
        file.truncate(4);
        file.extend(noise);
        if let Ok(btf) = Btf::split(&file, &file) {
            let _ = EXPECTED.check(&btf).map_err(|why| why.to_string());
        }
    }
}
