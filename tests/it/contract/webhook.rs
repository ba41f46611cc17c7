//! Contract, "Webhooks": configured as on the page, and delivered as on the page.

use super::{facts, page::Page, shape, story::Story};
use crate::webhooks::{Receiver, signature};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_as_documented() {
    let fact = facts::of("webhook.rs::a_delivery_is_as_documented").remove(0);
    let page = Page::read();
    let documented = page.object_after(fact.line);
    let curl = page.curls.iter().rfind(|curl| curl.line < fact.line).expect("it is configured");

    let mut story = Story::begin(&["--webhook-allow-private"]).await;
    let receiver = Receiver::start().await;
    story.means("https://your-server.com/webhook", &receiver.url());
    story.means("<token>", story.world.token().to_owned().as_str());
    let answer = story.curl(&curl.text).await;
    assert_eq!(answer.status, 200, "{}", answer.text);

    let node = documented["data"]["node_name"].as_str().expect("a name");
    let device = documented["data"]["device_id"].as_str().expect("a name");
    let token = story.world.join_token(node).await;
    story.world.join(node, &token, &["--device-id", device]).await.expect("the node joins");
    let agent = story.world.run_agent(node).await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.header("x-cloudcore-signature"), signature(&delivery.body));
    let real = delivery.json();
    let differences = shape::differences(&documented, &real, &fact.allowed);
    assert!(differences.is_empty(), "{} in {real}", differences.join("; "));
    for pointer in ["/event", "/data/device_id", "/data/node_name"] {
        assert_eq!(real.pointer(pointer), documented.pointer(pointer), "{real}");
    }

    // The others of the page's three, in either order: deliveries to one server overlap.
    assert_eq!(agent.stop().await, Some(0));
    let mut events = [receiver.next().await.json(), receiver.next().await.json()]
        .map(|delivery| delivery["event"].as_str().expect("a name").to_owned());
    events.sort_unstable();
    assert_eq!(events, ["alert", "device_left"]);
}
