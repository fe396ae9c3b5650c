bindRecordings();

document.querySelector(".keys").hidden = recordings.length === 0;
