//! Writing a checkpoint folder that every ALBERT tool can read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use tempfile::TempDir;

use crate::base;
use crate::checkpoint::Checkpoint;
use crate::config::{AlbertConfig, Architecture};
use crate::error::{Error, Result};
use crate::files::{folder_of, stage, sync_folder};
use crate::header::HeaderWriter;
use crate::names;
use crate::parameters::ParameterSpec;
use crate::survey::Survey;
use crate::tensor::DType;
use crate::weights::{SINGLE, is_plain_name};

/// A tensor to save.
#[derive(Clone, Copy, Debug)]
pub struct SaveTensor<'a> {
    /// Canonical name, as [`AlbertConfig::parameters`] lists it.
    pub name: &'a str,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// The numbers, in row-major order.
    pub data: &'a [f32],
}

/// Saves a model as transformers does: `config.json`, `model.safetensors` with
/// the numbers in `dtype`, and a copy of each of `extra_files`, given as name in
/// the folder and source (the tokenizer's file, a model card).
///
/// A folder that does not exist appears at once and whole. In one that exists,
/// all files are written and synchronised under temporary names first, so a full
/// disk is noticed while the old files are all there; it must hold the old files
/// and the new ones. Then they are renamed one by one, the weights first and
/// `config.json` last: each file is the old one or the new one, whole, but a
/// crash between two renames leaves some of each. Files of other names stay as
/// they are. A file that is a symbolic link is followed: what it points to is
/// replaced.
///
/// A process that is killed meanwhile may leave files, or for a new folder a
/// folder, named `.albert-*.part`; they can be deleted.
///
/// # Errors
/// [`Error::Tensor`] if `tensors` are not exactly the parameters of `config`, or
/// a finite number is too large for `dtype`; [`Error::Field`] for a
/// configuration that does not fit together; [`Error::Io`] for a full disk, a
/// folder that cannot be written, and a folder, pipe or device where a file goes. After an error nothing has changed on disk,
/// unless a rename within an existing folder failed half-way.
pub fn save(
    dir: &Path,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    write(dir, None, config, tensors, dtype, extra_files)
}

/// As [`save`], but leaves out the tensors that `base` has with the same numbers: the folder holds
/// `base.json`, which says where `base` lies and the checksum of its weights, and
/// `difference.safetensors`. It opens as long as the base lies in the same place from it;
/// only this program reads it.
///
/// # Errors
/// As [`save`]; [`Error::Folder`] where the folder holds `model.safetensors`, or `base` has a base
/// itself.
pub fn save_difference(
    dir: &Path,
    base: &Checkpoint,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    if base.base_dir().is_some() {
        let problem = "holds only what differs from another folder, and cannot be a base";
        return Err(Error::folder(base.dir(), problem));
    }
    write(
        dir,
        Some(base.survey()),
        config,
        tensors,
        dtype,
        extra_files,
    )
}

fn write(
    dir: &Path,
    base: Option<&Survey>,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    config.validate()?;
    let mut ordered = in_order(dir, config, tensors)?;
    for (name, _) in extra_files {
        let ours = [SINGLE, base::BASE, base::DIFFERENCE, "config.json"];
        if !is_plain_name(name) || ours.contains(name) {
            return Err(Error::folder(
                dir,
                format!("cannot hold an extra file named {name:?}"),
            ));
        }
    }
    let base_json = match base {
        Some(base) => {
            ordered.retain(|tensor| !base::same(base, tensor));
            let parent = folder_of(dir);
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            Some(base::text(dir, base)?)
        }
        None => None,
    };
    let base_json = base_json.as_deref();
    if dir.is_dir() {
        // Of two files of weights one would be stale.
        let other = match base {
            Some(_) => SINGLE,
            None => base::BASE,
        };
        if dir.join(other).exists() {
            let problem = format!("holds {other}, of a model that is stored in another way");
            return Err(Error::folder(dir, problem));
        }
        return write_into(dir, dir, base_json, config, &ordered, dtype, extra_files);
    }
    if dir.exists() {
        return Err(Error::folder(
            dir,
            "is a file; a checkpoint is saved as a folder",
        ));
    }

    let parent = folder_of(dir);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let fresh = temporary_folder(parent).map_err(Error::io("create", dir))?;
    let fresh_dir = fresh.path();
    write_into(
        fresh_dir,
        dir,
        base_json,
        config,
        &ordered,
        dtype,
        extra_files,
    )?;
    fs::rename(fresh.path(), dir).map_err(Error::io("create", dir))?;
    // It is at its place now and must not be removed with the temporary name.
    let _ = fresh.keep();
    sync_folder(parent)
}

fn temporary_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".albert-").suffix(".part");
    #[cfg(unix)]
    {
        // The mode of an ordinary new folder; the umask narrows it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent)
}

/// Writes all files into `dir`; messages speak of `shown`.
fn write_into(
    dir: &Path,
    shown: &Path,
    base_json: Option<&str>,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    let has_heads = config.architecture != Architecture::Base;
    let mut staged = Vec::with_capacity(extra_files.len() + 2);
    let weights = match base_json {
        Some(_) => base::DIFFERENCE,
        None => SINGLE,
    };
    let path = shown.join(weights);
    staged.push(stage(&dir.join(weights), &path, |file| {
        write_weights(&path, file, tensors, dtype, has_heads)
    })?);
    if let Some(text) = base_json {
        let path = shown.join(base::BASE);
        staged.push(stage(&dir.join(base::BASE), &path, |file| {
            file.write_all(text.as_bytes())
                .map_err(Error::io("write", &path))
        })?);
    }
    for (name, source) in extra_files {
        let mut from = File::open(source).map_err(Error::io("read", source))?;
        let path = shown.join(name);
        staged.push(stage(&dir.join(name), &path, |file| {
            io::copy(&mut from, file)
                .map(drop)
                .map_err(Error::io("write", &path))
        })?);
    }
    let json = config.to_json_with(Some(dtype.torch_name()));
    let path = shown.join("config.json");
    staged.push(stage(&dir.join("config.json"), &path, |file| {
        file.write_all(json.as_bytes())
            .map_err(Error::io("write", &path))
    })?);
    staged.into_iter().try_for_each(|file| file.commit())
}

/// The tensors in the configuration's order, if they are exactly its parameters.
fn in_order<'a>(
    dir: &Path,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'a>],
) -> Result<Vec<SaveTensor<'a>>> {
    let mut by_name = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if by_name.insert(tensor.name, *tensor).is_some() {
            return Err(Error::tensor(dir, tensor.name, "is given twice"));
        }
    }
    let mut ordered = Vec::with_capacity(tensors.len());
    for ParameterSpec { name, shape } in config.parameters() {
        let Some(tensor) = by_name.remove(name.as_str()) else {
            let problem = format!("is not given; {} needs it", config.architecture);
            return Err(Error::tensor(dir, &name, problem));
        };
        if tensor.shape != shape {
            let problem = format!(
                "has the shape {:?}; the configuration asks for {shape:?}",
                tensor.shape
            );
            return Err(Error::tensor(dir, &name, problem));
        }
        if tensor.data.len() != shape.iter().product::<usize>() {
            let problem = format!(
                "has {} numbers, which the shape {shape:?} has not",
                tensor.data.len()
            );
            return Err(Error::tensor(dir, &name, problem));
        }
        ordered.push(tensor);
    }
    match tensors
        .iter()
        .find(|tensor| by_name.contains_key(tensor.name))
    {
        Some(extra) => {
            let problem = format!("is not a parameter of {}", config.architecture);
            Err(Error::tensor(dir, extra.name, problem))
        }
        None => Ok(ordered),
    }
}

/// Streams a safetensors file: never more than a buffer of it is in memory.
fn write_weights(
    path: &Path,
    file: &mut File,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    has_heads: bool,
) -> Result<()> {
    let mut header = HeaderWriter::new();
    for tensor in tensors {
        header
            .add(names::saved(tensor.name, has_heads), dtype, tensor.shape)
            .map_err(|problem| Error::tensor(path, tensor.name, problem))?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let write = |out: &mut BufWriter<&mut File>, bytes: &[u8]| {
        out.write_all(bytes).map_err(Error::io("write", path))
    };
    write(&mut out, &header.into_bytes())?;
    for tensor in tensors {
        for &x in tensor.data {
            let (bytes, kept): (&[u8], bool) = match dtype {
                DType::F32 => (&x.to_le_bytes(), true),
                DType::F16 => {
                    let y = f16::from_f32(x);
                    (&y.to_le_bytes(), y.is_finite())
                }
                DType::Bf16 => {
                    let y = bf16::from_f32(x);
                    (&y.to_le_bytes(), y.is_finite())
                }
            };
            if !kept && x.is_finite() {
                let problem = format!("has the number {x}, too large for {dtype}");
                return Err(Error::tensor(path, tensor.name, problem));
            }
            write(&mut out, bytes)?;
        }
    }
    out.flush().map_err(Error::io("write", path))
}
