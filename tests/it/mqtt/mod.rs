//! MQTT, with foreign clients: Python's paho-mqtt and Mosquitto's.

mod broker;
pub mod client;
mod device;
pub mod external;
mod topics;

use serde_json::{Value, json};

pub use self::client::Paho;
use crate::world::World;

/// A device that is known, and has MQTT credentials: how it connects.
async fn member(world: &World, device: &str, device_type: &str) -> Value {
    let body = json!({
        "node_name": format!("node-of-{device}"),
        "device_id": device,
        "device_type": device_type,
    });
    world.post("/api/kubeedge/device/join", body).await;
    credentials(world, device).await
}

async fn credentials(world: &World, device: &str) -> Value {
    let path = format!("/api/kubeedge/device/{device}/mqtt");
    let admitted = world.post(&path, json!({})).await;
    json!({
        "client_id": device,
        "username": admitted["username"],
        "password": admitted["password"],
    })
}

/// A device that is there and listens to its commands.
async fn device(world: &World, id: &str, device_type: &str) -> Paho {
    let login = member(world, id, device_type).await;
    let mut device = Paho::connect(&world.mqtt, login).await;
    device.subscribe(&command(id)).await;
    device
}

fn command(device: &str) -> String {
    format!("cloudcore/device/{device}/command")
}

fn status(device: &str) -> String {
    format!("cloudcore/device/{device}/status")
}

fn detection(device: &str) -> String {
    format!("cloudcore/device/{device}/detection")
}

fn result(device: &str, id: &str) -> String {
    format!("cloudcore/device/{device}/command/{id}/result")
}
