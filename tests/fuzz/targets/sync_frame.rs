#![no_main]

quorate_fuzz::run!("sync_frame");
