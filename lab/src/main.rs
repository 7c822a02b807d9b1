//! `lab`

use lab::{Cluster, Release, Spec};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let cluster = Cluster::start(Spec::kraft(Release::V3_9_2).quick()).await?;
    println!("up {:?} {}", begun.elapsed(), cluster.bootstrap());
    cluster.create_topic("orders", 60, 3, &[]).await?;
    cluster.wait_full_isr(std::time::Duration::from_secs(30)).await?;
    println!("full {:?} controller {:?}", begun.elapsed(), cluster.active_controller().await?);
    let node = cluster.node(1)?;
    node.kill()?;
    node.wait_ended().await;
    println!("isr full right after kill: {}", cluster.isr_full_everywhere().await);
    let t = std::time::Instant::now();
    node.start(None).await?;
    cluster.wait_full_isr(std::time::Duration::from_secs(60)).await?;
    println!("back {:?}", t.elapsed());
    Ok(())
}
