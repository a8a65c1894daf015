(function(){var tip=document.createElement('div');tip.className='tip';document.body.appendChild(tip);
document.querySelectorAll('svg[data-steps]').forEach(function(svg){var steps=JSON.parse(svg.dataset.steps),from=+svg.dataset.from,to=+svg.dataset.to,mark=svg.querySelector('.mark');
svg.addEventListener('mousemove',function(event){var box=svg.getBoundingClientRect(),x=(event.clientX-box.left)/box.width*1000;
if(x<from||x>to||!steps.length){tip.style.display='none';mark.setAttribute('visibility','hidden');return}
var place=Math.min(steps.length-1,Math.floor((x-from)/(to-from)*steps.length));mark.setAttribute('x1',x);mark.setAttribute('x2',x);mark.setAttribute('visibility','visible');
tip.textContent=steps[place];tip.style.display='block';tip.style.left=Math.min(event.clientX+14,innerWidth-230)+'px';tip.style.top=(event.clientY+14)+'px'});
svg.addEventListener('mouseleave',function(){tip.style.display='none';mark.setAttribute('visibility','hidden')})});
document.querySelectorAll('button[data-copy]').forEach(function(button){button.hidden=false;button.addEventListener('click',function(){navigator.clipboard&&navigator.clipboard.writeText(button.dataset.copy);button.textContent='copied'})})})();
