//! baton.
mod datapath;
mod failure;
fn main() -> anyhow::Result<()> {
    let names = baton_common::names::Names::build(&["x-telepresence-id","traceparent"], &[0,0]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let t=std::time::Instant::now();
    let _d = datapath::load::Datapath::load(datapath::load::Options{contexts:8192,max_age:std::time::Duration::from_secs(900),cure:true}, &names)?;
    eprintln!("loaded {:?}", t.elapsed());
    Ok(())
}
