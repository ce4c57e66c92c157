#![no_main]

quorate_fuzz::run!("gossip_frame");
