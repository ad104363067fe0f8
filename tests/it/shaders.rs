//! The numbers that shaders and host share, as naga reads them; needs no GPU.

use crate::support::twins;
use naga::{Module, TypeInner};
use oma_worker::compute::gpu::layout::{
    CROSS_CONSTANTS, CROSS_SPECTRA, HERMITIAN_PRODUCTS, LAG_CONSTANTS, LAG_PRODUCTS, LINE_TOTALS, LONGEST,
    PEAK_CONSTANTS, PEAK_RATES, PRODUCT_CONSTANTS, SHADERS, SHORTEST, Shader, TOTAL_CONSTANTS, Tile, Transform,
};
use std::collections::BTreeSet;

/// Workgroup memory that every adapter has (WebGPU's default limit).
const WORKGROUP_BYTES: usize = 16384;

fn parsed(shader: &Shader) -> Module {
    naga::front::wgsl::parse_str(shader.source).unwrap_or_else(|e| panic!("{}: {}", shader.name, e.message()))
}

#[test]
fn every_shader_is_valid() {
    for shader in &SHADERS {
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), Default::default());
        validator.validate(&parsed(shader)).unwrap_or_else(|e| panic!("{}: {e:?}", shader.name));
    }
}

#[test]
fn uniforms_lie_where_the_host_puts_them() {
    for shader in &SHADERS {
        let module = parsed(shader);
        let uniform = module.global_variables.iter().find(|(_, v)| v.space == naga::AddressSpace::Uniform).unwrap().1;
        let of_shader = &module.types[uniform.ty];
        let (name, size, fields) = shader.uniform;
        assert_eq!(of_shader.name.as_deref(), Some(name), "{}", shader.name);
        let TypeInner::Struct { members, span } = &of_shader.inner else { panic!("{}: no struct", shader.name) };
        let found: Vec<_> = members.iter().map(|m| (m.name.as_deref().unwrap(), m.offset as usize)).collect();
        assert_eq!((found.as_slice(), *span as usize), (fields, size), "{}", shader.name);
    }
}

#[test]
fn every_override_constant_is_filled_and_no_other() {
    for shader in &SHADERS {
        let module = parsed(shader);
        let in_shader: BTreeSet<_> = module.overrides.iter().map(|(_, o)| o.name.clone().unwrap()).collect();
        let on_host: BTreeSet<_> = shader.overrides.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(in_shader, on_host, "{}", shader.name);
    }
}

#[test]
fn constants_of_the_shaders_are_those_of_the_host() {
    let all = [
        (LAG_PRODUCTS, LAG_CONSTANTS),
        (CROSS_SPECTRA, CROSS_CONSTANTS),
        (HERMITIAN_PRODUCTS, PRODUCT_CONSTANTS),
        (LINE_TOTALS, TOTAL_CONSTANTS),
        (PEAK_RATES, PEAK_CONSTANTS),
    ];
    for (shader, constants) in all {
        let module = parsed(&shader);
        for (name, value) in constants {
            let constant = module.constants.iter().find(|(_, c)| c.name.as_deref() == Some(*name)).unwrap().1;
            let naga::Expression::Literal(naga::Literal::U32(found)) = module.global_expressions[constant.init] else {
                panic!("{name} is no number")
            };
            assert_eq!(found, *value, "{}: {name}", shader.name);
        }
    }
}

#[test]
fn workgroups_fit_where_they_are_said_to() {
    let lengths: Vec<usize> = (0..20).map(|k| 1 << k).filter(|n| Transform::new(*n).is_some()).collect();
    assert_eq!(lengths, [256, 512, 1024, 2048, 4096, 8192, 16384]);
    assert_eq!((lengths[0], lengths[6]), (SHORTEST, LONGEST));
    for n in lengths {
        let shape = Transform::new(n).unwrap();
        assert!(shape.threads() >= 64 && shape.threads() <= 1024 && 16 * shape.lanes == n, "{n}: {shape:?}");
        assert!(shape.workgroup_bytes() <= if n <= 8192 { WORKGROUP_BYTES } else { 2 * WORKGROUP_BYTES }, "{n}");
    }
    for n in [1, 16, 17, 32, 33, 64, 65, 500] {
        let tile = Tile::new(n);
        assert!(tile.workgroup_bytes() <= WORKGROUP_BYTES && (tile.channels() >= n || tile.side == 16), "{n}");
    }
}

#[test]
fn every_shader_has_a_twin_and_a_head() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders")).unwrap();
    let names: BTreeSet<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        // What the kernels share is no kernel.
        .filter(|name| name != "fft")
        .collect();
    assert_eq!(names, twins::NAMES.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(names, SHADERS.iter().map(|shader| shader.name.to_owned()).collect());
    for shader in &SHADERS {
        for word in ["CPU twin", "Formula", "Bindings", "Workgroup", "Accuracy"] {
            assert!(shader.source.contains(&format!("// {word}")), "{}: {word} is missing", shader.name);
        }
    }
}
