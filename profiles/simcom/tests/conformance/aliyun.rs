//! The eleven commands towards Alibaba Cloud, with the identity of a device as the broker sees it.

use modem::mqtt::{Connection, Qos};
use modem_sim::Model;

use crate::bench::{Bench, FIRST};
use crate::broker::{Broker, Peer};

scenarios!(the_eleven_commands, one_wrong_letter_in_the_password);

const ID: &str = "7600|securemode=3,signmethod=hmacsha1|";
const USER: &str = "7600&a1mQpKOF9hp";
const PASSWORD: &str = "D48150E8D550607B15C667E100635EE96EA7D512";
const HOST: &str = "a1mQpKOF9hp.iot-as-mqtt.cn-shanghai.aliyuncs.com";
const TOPIC: &str = "/a1mQpKOF9hp/7600/user/7600";

fn device(password: &str) -> Connection {
    Connection {
        host: HOST.to_owned(),
        username: Some(USER.to_owned()),
        password: Some(password.into()),
        ..crate::bench::connection(ID)
    }
}

async fn the_eleven_commands(model: Model) {
    let broker = Broker::with_login(USER, PASSWORD).await;
    let mut peer = Peer::login(&broker, "/a1mQpKOF9hp/#", Some((USER, PASSWORD))).await;
    let (mut bench, _handle) = Bench::simulated(model, &broker).await;

    bench.mqtt.start(&bench.at).await.unwrap();
    bench.open(FIRST, &device(PASSWORD)).await.unwrap();
    bench.subscribe(FIRST, &[TOPIC]).await.unwrap();
    bench.publish(FIRST, TOPIC, "hello", Qos::AtLeastOnce).await.unwrap();
    assert_eq!(bench.received().await, (FIRST, TOPIC.to_owned(), b"hello".to_vec()));
    bench.mqtt.unsubscribe(&bench.at, FIRST, TOPIC).await.unwrap();
    bench.mqtt.close(&bench.at, FIRST).await;
    bench.mqtt.stop(&bench.at).await;

    assert_eq!(&peer.message().await.payload[..], b"hello");
    // The broker logs the client id and the user; that the password fits is what let it in.
    broker.logged(&format!("as {ID} (p2, c1, k60, u'{USER}').")).await;
    broker.logged(&format!("Received UNSUBSCRIBE from {ID}")).await;
    broker.logged(&format!("Client {ID} disconnected.")).await;
    let topic = TOPIC.as_bytes();
    let expected: [(String, &[u8]); 12] = [
        ("AT+CMQTTSTART".to_owned(), b""),
        (format!("AT+CMQTTACCQ=0,\"{ID}\",0,4"), b""),
        ("AT+CMQTTCFG=\"checkUTF8\",0,0".to_owned(), b""), // beside the eleven: payloads are bytes
        (format!("AT+CMQTTCONNECT=0,\"tcp://{HOST}:1883\",60,1,\"{USER}\",\"{PASSWORD}\""), b""),
        ("AT+CMQTTSUB=0,27,1".to_owned(), topic),
        ("AT+CMQTTTOPIC=0,27".to_owned(), topic),
        ("AT+CMQTTPAYLOAD=0,5".to_owned(), b"hello"),
        ("AT+CMQTTPUB=0,1,60".to_owned(), b""),
        ("AT+CMQTTUNSUB=0,27,0".to_owned(), topic),
        ("AT+CMQTTDISC=0,60".to_owned(), b""),
        ("AT+CMQTTREL=0".to_owned(), b""),
        ("AT+CMQTTSTOP".to_owned(), b""),
    ];
    assert_eq!(bench.commands(), expected.map(|(line, data)| (line, data.to_vec())));
}

async fn one_wrong_letter_in_the_password(model: Model) {
    let broker = Broker::with_login(USER, PASSWORD).await;
    let (bench, _handle) = Bench::simulated(model, &broker).await;
    bench.mqtt.start(&bench.at).await.unwrap();
    let wrong = PASSWORD.replacen('D', "E", 1);
    assert_eq!(crate::bench::code(bench.open(FIRST, &device(&wrong)).await), 31);
}
