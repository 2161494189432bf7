//! `albert pretrain` in several processes under `mpirun`.
