//! Generates the API from `proto/`: its Rust types, and the descriptor set that reflection serves. It needs
//! no installed `protoc`, and must never look at anything but `proto/`: no git, no network.

use std::path::PathBuf;
use std::{env, error, fs, io};

use prost::Message as _;

const PACKAGE_DIR: &str = "proto/deskgate/v1";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut protos =
        fs::read_dir(PACKAGE_DIR)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    protos.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    protos.sort(); // a directory's own order differs between machines

    let descriptors = protox::compile(&protos, ["proto"])?;
    fs::write(out_dir.join("deskgate_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
