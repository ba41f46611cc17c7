//! MQTT.
mod broker;
