//! `albert serve` over real sockets.

mod http {
    pub mod client;
    mod contract;
    mod faults;
    mod limits;
    mod tls;
    mod traces;
}
